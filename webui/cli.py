"""The command `nightread web`."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from webui.request_security import is_loopback
from worker import logs
from worker.config import read_settings
from worker.ledger.schema import open_ledger

_REFUSAL = (
    "The page has no logins yet, so it binds to this machine only: {host} can be reached by others. "
    "Set NIGHTREAD_ALLOW_REMOTE=1 if something in front of it lets only the right people through."
)
_WARNING = (
    "WARNING: the page binds to {host} and has NO LOGINS. Whoever reaches this address sees every image "
    "and can decide under any name. Let only a proxy that checks people reach it."
)


@click.command()
@click.option("--host", help="Address to bind to; default: NIGHTREAD_HOST, else 127.0.0.1.")
@click.option("--port", type=int, help="Port to bind to; default: NIGHTREAD_PORT, else 8000.")
def web(host: str | None, port: int | None) -> None:
    """Run the page."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings(**given)
    logs.configure(settings, "web")
    if not is_loopback(settings.host):
        if not settings.allow_remote:
            _refuse(_REFUSAL.format(host=settings.host))
        click.echo(_WARNING.format(host=settings.host), err=True)
    # An outdated schema ends in SchemaOutdated here, not in a page that fails later.
    open_ledger(settings.database).close()
    from webui.server import Server

    Server(settings).run()


def _refuse(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(2)
