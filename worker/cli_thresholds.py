"""`nightread thresholds`: which operating point new images follow."""

from __future__ import annotations

import click

from worker.cli_support import check_line, fail, json_text, open_ledger, start


@click.group()
def thresholds() -> None:
    """Show the operating points, and put one in force."""


@thresholds.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(as_json: bool) -> None:
    """Show the points of the model's card and of the site, and which one is in force since when and why."""
    from worker.commands import thresholds as commands

    settings = start("thresholds")
    try:
        shown = commands.read(settings, open_ledger(settings))
    except LookupError as error:
        fail(_sentence(error))
    click.echo(json_text(commands.document(shown)) if as_json else commands.as_text(shown))


@thresholds.command(name="set")
@click.argument("name", type=check_line, required=False)
@click.option(
    "--numbers",
    type=(float, float, float),
    metavar="THRESHOLD LOW HIGH",
    help="Threshold and both ends of the band, each 0 to 1: a new point of the site with this name.",
)
@click.option(
    "--default",
    "is_default",
    is_flag=True,
    help="The point that holds without the site's, instead of a name. With --for: no point for this group any more.",
)
@click.option(
    "--for",
    "group",
    metavar="GROUP",
    help="Only for images of this group: age=18-64 (completed years), or source=folder, upload, import or dicom.",
)
@click.option(
    "--why",
    type=check_line,
    metavar="TEXT",
    required=True,
    help="Reason for the change. Nightread records it.",
)
@click.option(
    "--retriage", "retriages", is_flag=True, help="Give unread images the verdicts of the new point, too."
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=100_000),
    help="With --retriage: only images that arrived in so many days. Default: all.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout. Needs --yes.")
def set_point(  # noqa: PLR0917 - one for each option
    name: str | None,
    numbers: tuple[float, float, float] | None,
    is_default: bool,
    group: str | None,
    why: str,
    retriages: bool,
    days: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Put the operating point NAME in force for the model that scores now.

    NAME is a point of the model's card or of the site, or, with --numbers, a new one of the site. Images that are scored
    from now on follow it; processes need no restart. An image follows the point of its age group, else that of its source,
    else the general one.
    """
    from worker.commands import thresholds as commands
    from worker.ledger.point_groups import Group

    if (name is None) != is_default or (is_default and numbers):
        raise click.UsageError("Give either the name of a point or --default.")
    if days is not None and not retriages:
        raise click.UsageError("--days needs --retriage.")
    if as_json and not yes:
        raise click.UsageError("--json needs --yes.")
    settings = start("thresholds")
    ledger = open_ledger(settings)
    try:
        of = Group.parse(group) if group is not None else None
        wanted = commands.Wanted(name, numbers, retriages, days, of)
        choice, changes = commands.choose(settings, ledger, wanted)
        if not yes:
            click.echo(commands.described(choice, changes), err=True)
            click.confirm("Put it in force?", abort=True, err=True)
        done = commands.put_in_force(settings, ledger, choice, why)
        shown = commands.read(settings, ledger)
    except (LookupError, ValueError) as error:
        fail(_sentence(error))
    if as_json:
        click.echo(json_text({**commands.document(shown), "retriaged": commands.changes_document(done)}))
        return
    if done is not None:
        click.echo(commands.changes_text(done, is_done=True), err=True)
    click.echo(commands.as_text(shown))


def _sentence(error: Exception) -> str:
    sentence = str(error.args[0])
    return f"{sentence[:1].upper()}{sentence[1:]}."
