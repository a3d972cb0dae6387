"""What the commands of `nightread` share: settings, ledger, JSON, errors, and kinds of arguments."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.ledger.session import Ledger

_MAX_LINE = 200
ID = click.IntRange(1, 2**63 - 1)


class Values(click.Choice[StrEnum]):
    """A choice of the values of an enumeration; `click.Choice` alone offers the names of its members."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """Return what people type for a member."""
        return str(choice)


def check_line(value: str) -> str:
    """Accept one line of text that every database and every terminal can show."""
    if not value.isprintable() or len(value) > _MAX_LINE:
        raise click.BadParameter(f"must be one line of at most {_MAX_LINE} printable characters")
    return value


def start(process: str) -> Settings:
    """Read the settings and set up the logs. Raises WrongSettings."""
    from worker import logs
    from worker.config import read_settings
    from worker.folders import make_private

    settings = read_settings()
    make_private()
    logs.configure(settings, process)
    return settings


def open_ledger(settings: Settings) -> Ledger:
    """Open the ledger. Raises SchemaOutdated, TransientFailure."""
    from worker.ledger import schema

    return schema.open_ledger(settings.database)


def json_text(document: object) -> str:
    """Return a document as `--json` prints it."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def fail(sentence: str) -> NoReturn:
    """Print a sentence for people, and exit with 1."""
    click.echo(sentence, err=True)
    sys.exit(1)
