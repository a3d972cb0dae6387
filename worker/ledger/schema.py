"""The database schema: upgrade it, and check whether it is up to date."""

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

# Two processes that start at once must not both migrate. Any number works that no other program uses.
_ADVISORY_LOCK = 0x6E69676874

# Tables whose rows no role but the owner may change or delete, and tables that no other role may write at all.
# `packaging/postgresql-roles.sql` names the same.
APPEND_ONLY = ("audit_event", "access_record", "access_batch")
READ_ONLY = ("alembic_version",)


def upgrade(ledger: Ledger) -> str:
    """Upgrade the schema to the newest revision in one transaction, and return that revision.

    Raises SchemaOutdated if a newer version of this program has upgraded it further.
    """
    with ledger.transaction() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except CommandError as error:
            raise SchemaOutdated(
                "A newer version of Nightread has upgraded the database. Use that version."
            ) from error
        if connection.dialect.name == "postgresql":
            _protect(connection)
    return newest()


def _protect(connection: Connection) -> None:
    """Take from every role but the owner the right to change events, or the revision of the schema.

    See `packaging/postgresql-roles.sql`, whose default rights are the same for every new table.
    """
    holders = connection.execute(
        text(
            "SELECT DISTINCT table_name, grantee FROM information_schema.role_table_grants"
            " JOIN pg_tables ON schemaname = table_schema AND tablename = table_name"
            " WHERE table_schema = current_schema() AND table_name = ANY(:protected)"
            " AND tableowner = current_user AND grantee <> tableowner"
            " AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')"
        ),
        {"protected": [*APPEND_ONLY, *READ_ONLY]},
    ).all()
    quote = connection.dialect.identifier_preparer.quote
    for table, grantee in holders:
        rights = "UPDATE, DELETE, TRUNCATE" + (", INSERT" if table in READ_ONLY else "")
        role = grantee if grantee == "PUBLIC" else quote(grantee)
        connection.execute(text(f"REVOKE {rights} ON {quote(table)} FROM {role}"))


def open_ledger(url: str) -> Ledger:
    """Open the ledger at `url`.

    Raises SchemaOutdated if its schema is not up to date, TransientFailure if it cannot be reached.
    """
    ledger = Ledger(url)
    if current(ledger) != newest():
        raise SchemaOutdated("The database is not up to date. Run `nightread db upgrade` first.")
    return ledger


def newest() -> str:
    """Return the revision that this program needs."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    if head is None:
        raise FileNotFoundError(f"{MIGRATIONS} holds no migration")
    return head


def current(ledger: Ledger) -> str | None:
    """Return the revision of the database; None for a new one."""
    with ledger.reading() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def differences(ledger: Ledger) -> list[object]:
    """Return the differences between the database and `tables.py`; empty if there are none."""
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
