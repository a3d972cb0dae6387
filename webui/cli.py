"""The command `nightread web`."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import NoReturn

import click

from worker import exposure, logs
from worker.addresses import is_loopback
from worker.config import read_settings
from worker.folders import make_private
from worker.ledger.schema import open_ledger

_WARNING = (
    "WARNING: the web interface listens on {host} WITHOUT TLS. Whoever can read the traffic can read the images and "
    "sign in with the cookies that they see. Put Nightread behind a proxy with TLS."
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
    exposure.check_settings(settings)
    if not is_loopback(settings.host) and not settings.proxy_hops:
        click.echo(_WARNING.format(host=settings.host), err=True)
    # Raises SchemaOutdated now; otherwise the pages would fail later.
    with closing(open_ledger(settings.database)) as ledger:
        exposure.check_administrator(settings, ledger)
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
