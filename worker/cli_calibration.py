"""`nightread calibration`: what a score means at this site."""

from __future__ import annotations

import click

from worker.cli_support import check_line, fail, json_text, open_ledger, start

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_MODEL = click.option(
    "--model",
    "named",
    type=check_line,
    metavar="SHA256",
    help="The model, by the beginning of its SHA-256. Default: the one that scores now.",
)
_WHY = click.option(
    "--why",
    type=check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the change. Nightread records it.",
)


@click.group()
def calibration() -> None:
    """Fit the scores of a model to this site's readings. Scores and verdicts stay as they are."""


@calibration.command()
@_MODEL
@_JSON
def show(named: str | None, as_json: bool) -> None:
    """Show the calibration in force with its held-out figures, the changes, and whether recent scores differ."""
    from worker.commands import calibration as commands
    from worker.report.calibration_overview import document

    ledger = open_ledger(start("calibration"))
    try:
        shown = commands.read(ledger, named)
    except LookupError as error:
        fail(_sentence(error))
    click.echo(json_text(document(shown)) if as_json else commands.as_text(shown))


@calibration.command()
@_MODEL
@_WHY
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout. Needs --yes.")
def fit(named: str | None, why: str, yes: bool, as_json: bool) -> None:
    """Fit a calibration on this site's read images, show its held-out figures, and put it in force."""
    from worker.commands import calibration as commands
    from worker.report.calibration_overview import document

    if as_json and not yes:
        raise click.UsageError("--json needs --yes.")
    ledger = open_ledger(start("calibration"))
    try:
        tried = commands.fit(ledger, named)
        click.echo(commands.tried_text(tried), err=True)
        if not yes and tried.fitted is not None:
            click.confirm("Put it in force?", abort=True, err=True)
        commands.put_in_force(ledger, tried, why)
        shown = commands.read(ledger, named)
    except (LookupError, ValueError) as error:
        fail(_sentence(error))
    if as_json:
        click.echo(json_text({**document(shown), "fitted": commands.tried_document(tried)}))
        return
    click.echo(commands.as_text(shown))


@calibration.command()
@_MODEL
@_WHY
@_JSON
def revoke(named: str | None, why: str, as_json: bool) -> None:
    """Revoke the calibration in force: pages, API and reports show the score alone again."""
    from worker.commands import calibration as commands
    from worker.report.calibration_overview import document

    ledger = open_ledger(start("calibration"))
    try:
        commands.revoke(ledger, named, why)
        shown = commands.read(ledger, named)
    except (LookupError, ValueError) as error:
        fail(_sentence(error))
    click.echo(json_text(document(shown)) if as_json else commands.as_text(shown))


def _sentence(error: Exception) -> str:
    sentence = str(error.args[0]).rstrip(".")
    return f"{sentence[:1].upper()}{sentence[1:]}."
