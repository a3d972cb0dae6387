"""The command `nightread web`."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from webui.request_security import is_loopback
from worker import logs
from worker.config import read_settings
from worker.folders import make_private
from worker.ledger.schema import open_ledger

_NOT_LOOPBACK = (
    "The web interface has no logins yet, and other machines can reach the address {host}. Use 127.0.0.1. "
    "If a proxy in front of Nightread admits only authorised people, set NIGHTREAD_ALLOW_REMOTE=1 "
    "and NIGHTREAD_ALLOWED_HOSTS to the names under which they open the page."
)
_WARNING = (
    "WARNING: the web interface listens on {host} and has NO LOGINS. Anyone who reaches this address can see "
    "every image and decide under any name. Put Nightread behind a proxy that admits only authorised people."
)


@click.command()
@click.option("--host", help="Address to bind to. Default: NIGHTREAD_HOST, else 127.0.0.1.")
@click.option("--port", type=int, help="Port to bind to. Default: NIGHTREAD_PORT, else 8000.")
def web(host: str | None, port: int | None) -> None:
    """Run the web interface."""
    options = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings(**options)
    make_private()
    logs.configure(settings, "web")
    if not is_loopback(settings.host):
        if not settings.allow_remote:
            _exit(_NOT_LOOPBACK.format(host=settings.host))
        click.echo(_WARNING.format(host=settings.host), err=True)
    # Raises SchemaOutdated now; otherwise the pages would fail later.
    open_ledger(settings.database).close()
    from webui.server import serve

    try:
        serve(settings)
    except OSError as error:
        _exit(
            f"Port {settings.port} of {settings.host} cannot be used ({error.strerror}). "
            "Set NIGHTREAD_PORT to another port, or NIGHTREAD_HOST to another address."
        )


def _exit(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(2)
