"""The database's schema: brought up to date, and asked whether it is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from worker.errors import SchemaOutdated
from worker.ledger.session import Ledger
from worker.ledger.tables import Base

MIGRATIONS = Path(__file__).resolve().parent.parent.parent / "migrations"


# Two processes that start at once must not both migrate; any number that nobody else uses will do.
_ADVISORY_LOCK = 0x6E69676874


def upgrade(ledger: Ledger) -> str:
    """Bring the schema to the newest revision, in one transaction; that revision.

    Raises SchemaOutdated when a newer program has changed it already.
    """
    with ledger.transaction() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except CommandError as error:
            raise SchemaOutdated("A newer Nightread has changed the database; run that one.") from error
    return newest()


def open_ledger(url: str) -> Ledger:
    """The ledger at `url`. Raises SchemaOutdated when it is not up to date, TransientFailure when away."""
    ledger = Ledger(url)
    if current(ledger) != newest():
        raise SchemaOutdated("The database is not up to date; run `nightread db upgrade` first.")
    return ledger


def newest() -> str:
    """The revision that this program needs."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    if head is None:
        raise FileNotFoundError(f"{MIGRATIONS} holds no migration")
    return head


def current(ledger: Ledger) -> str | None:
    """The revision that the database has; None for a new one."""
    with ledger.reading() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def differences(ledger: Ledger) -> list[object]:
    """Where the database's tables are not those of `tables.py`; empty when they agree."""
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
