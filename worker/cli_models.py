"""`nightread models`: which model scores new images, and which one is tried in the background."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from worker.cli_support import check_line, fail, json_text, open_ledger, start

_WHY = click.option(
    "--why",
    type=check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the change. Nightread records it.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def models() -> None:
    """List the models, make one active, and try one in the background."""


@models.command(name="list")
@_JSON
def list_models(as_json: bool) -> None:
    """List the models that workers have registered, and the bundles of this machine and of all workers."""
    from worker.commands import models as commands

    settings = start("models")
    shown = commands.read(settings, open_ledger(settings))
    click.echo(json_text(commands.document(shown)) if as_json else commands.as_text(shown))


@models.command()
@click.argument("name", type=check_line)
@_JSON
def show(name: str, as_json: bool) -> None:
    """Show the model NAME: its folder's name, its name and version (nightread-0.2.0), or the start of its SHA-256."""
    from worker.commands import models as commands

    settings = start("models")
    try:
        shown = commands.read(settings, open_ledger(settings))
        model = commands.find(shown, name)
    except LookupError as error:
        fail(_sentence(error))
    click.echo(json_text(commands.model_document(model)) if as_json else commands.details_text(shown, model))


@models.command()
@click.argument("name", type=check_line, required=False)
@click.option(
    "--default",
    "is_default",
    is_flag=True,
    help="The model of the setting NIGHTREAD_MODEL of each worker, instead of a name.",
)
@_WHY
@_JSON
def activate(name: str | None, is_default: bool, why: str, as_json: bool) -> None:
    """Make the model NAME active: images that are scored from now on get its scores.

    Images that have a score keep it. Processes need no restart. To go back, activate the former model again, or --default.
    Operating points of the site belong to a model: those that the model had here are in force again.
    """
    from worker.commands import models as commands

    if (name is None) != is_default:
        raise click.UsageError("Give either the name of a model or --default.")
    settings = start("models")
    ledger = open_ledger(settings)
    try:
        commands.activate(settings, ledger, name, why)
    except (LookupError, ValueError) as error:
        fail(_sentence(error))
    shown = commands.read(settings, ledger)
    click.echo(json_text(commands.document(shown)) if as_json else commands.as_text(shown))


@models.command()
@click.argument("name", type=check_line, required=False)
@click.option("--off", is_flag=True, help="Stop shadow scoring, instead of a name. What was scored stays.")
@_WHY
@click.option(
    "--images",
    type=click.IntRange(1, 20_000),
    default=5_000,
    show_default=True,
    help="Score the latest so many images; those that people have read first.",
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only images that arrived since this day.")
@_JSON
def shadow(name: str | None, off: bool, why: str, images: int, since: datetime | None, as_json: bool) -> None:
    """Have the model NAME score images in the background, while nothing waits.

    Its predictions are kept apart: they change no verdict, no queue and no report. Compare models on the page Models.
    """
    from worker.commands import models as commands

    if (name is None) != off:
        raise click.UsageError("Give either the name of a model or --off.")
    settings = start("models")
    ledger = open_ledger(settings)
    bounds = commands.Bounds(images, since.replace(tzinfo=UTC) if since else None)
    try:
        commands.shadow(settings, ledger, name, why, bounds)
    except (LookupError, ValueError) as error:
        fail(_sentence(error))
    shown = commands.read(settings, ledger)
    click.echo(json_text(commands.document(shown)) if as_json else commands.as_text(shown))


def _sentence(error: Exception) -> str:
    sentence = str(error.args[0]).rstrip(".")
    return f"{sentence[:1].upper()}{sentence[1:]}."
