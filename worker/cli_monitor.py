"""`nightread monitor`: how well the model works here, and what has changed."""

from __future__ import annotations

from datetime import datetime

import click

from worker.cli_support import check_line, fail, json_text, open_ledger, start

_PERIODS = ("day", "week", "month")
_DIMENSIONS = ("all", "age", "sex", "view", "source", "machine", "size", "reader")


@click.group()
def monitor() -> None:
    """Show how well the model works at this site, by period and group."""


@monitor.command()
@click.option(
    "--period", type=click.Choice(_PERIODS), default="week", help="What is added up. Default: week."
)
@click.option("--by", type=click.Choice(_DIMENSIONS), default="all", help="By what images are grouped.")
@click.option(
    "--group", type=check_line, default="all", help="The group to show by period. Default: all images."
)
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day. Default: today, in UTC.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(period: str, by: str, group: str, until: datetime | None, as_json: bool) -> None:
    """Show what has changed, and the figures with their intervals of 95 %."""
    from worker.commands import monitor as commands

    settings = start("monitor")
    try:
        figures = commands.read(
            open_ledger(settings), period=period, by=by, group=group, until=until and until.date()
        )
    except (LookupError, ValueError) as error:
        told = str(error.args[0])
        fail(f"{told[:1].upper()}{told[1:].rstrip('.')}.")
    click.echo(json_text(commands.document(figures)) if as_json else commands.as_text(figures))


@monitor.command()
def rebuild() -> None:
    """Count all days of the monitor anew, and look again for what has changed.

    Nothing else needs it: the sweeper counts each day anew whose images change.
    """
    from worker.commands import monitor as commands

    settings = start("monitor")
    days = commands.rebuild(open_ledger(settings))
    click.echo(f"Days that were counted: {days}.", err=True)
