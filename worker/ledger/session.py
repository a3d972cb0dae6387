"""The connection to the database, and `Ledger.transaction()`, the only way to write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from worker.errors import DatabaseAway

# Longest wait for a lock, on both databases.
BUSY_TIMEOUT_S = 30.0
# Longest silence of one end of a connection before the other end closes it.
SILENCE_S = 15.0
_BUSY_PAUSE_S = 0.01
_READ_SNAPSHOT = "nightread_reading"
_WITHOUT_FSYNC = "nightread_without_fsync"
_NO_TRANSACTION = "nightread_no_transaction"
# A checkpoint holds the write lock while it waits for readers.
_CHECKPOINT_TIMEOUT_S = 1.0
# PostgreSQL: write attempted in a read-only transaction (PostgreSQL documentation, appendix A).
_READ_ONLY = "25006"
# PostgreSQL: insufficient_privilege.
_FORBIDDEN = "42501"
# SQLite: the file is read-only, or its share or disk has gone away (sqlite.org/rescode.html).
_READ_ONLY_OR_GONE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def utc_now() -> datetime:
    """Return the present time as the ledger records it: UTC, timezone-aware."""
    return datetime.now(UTC)


def ledger_time(session: Session) -> datetime:
    """Return the present time by the ledger's clock, which all processes share.

    This is the clock of PostgreSQL's machine, so that the clocks of workers need not agree; with SQLite it is
    the clock of this machine.
    """
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    server_time: datetime = session.scalars(select(func.clock_timestamp())).one()
    return server_time.astimezone(UTC)


class Ledger:
    """The database behind one URL. It connects when it is first used."""

    def __init__(self, url: str) -> None:
        """Create the engine for `url` (sqlite:///PATH or postgresql+psycopg://...)."""
        if url.startswith("sqlite"):
            self.engine = _sqlite_engine(url)
            self._snapshot: dict[str, Any] = {_READ_SNAPSHOT: True}
        else:
            self.engine = _server_engine(url)
            # Several counts must agree with each other; SQLite's readers see one snapshot anyway.
            self._snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._engine_without_fsync = self.engine.execution_options(**{_WITHOUT_FSYNC: True})

    @contextmanager
    def transaction(self, *, without_fsync: bool = False) -> Iterator[Session]:
        """Open a transaction: it commits when the block ends and rolls back when the block raises.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that what is read inside stays true
        until the commit. Raises TransientFailure when the database is locked or cannot be reached.

        Args:
            without_fsync: commit before the data are on the disk. A power cut may undo this transaction. Use
                it for leases, queue marks and heartbeats only, never for anything that was reported to anybody.
        """
        with (
            _transient_when_disconnected(),
            Session(
                self._engine_without_fsync if without_fsync else self.engine, expire_on_commit=False
            ) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that reads one consistent snapshot; changes made inside are discarded.

        Do nothing slow inside: PostgreSQL ends a session that is idle in a transaction.
        """
        with (
            _transient_when_disconnected(),
            self.engine.connect().execution_options(**self._snapshot) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def forget(self) -> None:
        """Remove replaced values from SQLite's write-ahead log, unless a reader still needs them.

        PostgreSQL removes them by itself, when it vacuums a table. Raises TransientFailure.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with (
            _transient_when_disconnected(),
            self.engine.connect().execution_options(**{_NO_TRANSACTION: True}) as connection,
        ):
            connection.exec_driver_sql(f"PRAGMA busy_timeout={round(1e3 * _CHECKPOINT_TIMEOUT_S)}")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                # Its timeout was for this statement only, so the connection is closed and not used again. A detached
                # one would stay open after an error, and a read-only one keeps every later one read-only.
                connection.invalidate()

    def close(self) -> None:
        """Close all pooled connections; a later use opens new ones."""
        self.engine.dispose()


def is_forbidden(error: Exception) -> bool:
    """Return whether the role of the database may not do what was tried."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _FORBIDDEN


@contextmanager
def _transient_when_disconnected() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseAway("the database cannot be used now: every connection is taken") from error
    except DBAPIError as error:
        if _out_of_reach(error):
            raise DatabaseAway(f"the database cannot be used now: {error.orig}") from error
        raise


def _out_of_reach(error: DBAPIError) -> bool:
    """Return whether the error is about the database's state and not about the statement (PEP 249)."""
    return error.connection_invalidated or isinstance(error, OperationalError) or type(error) is DatabaseError


def _discard_read_only(context: ExceptionContext) -> None:
    """Discard a connection that was opened while the database was read-only: it would stay read-only."""
    error = context.original_exception
    failed = getattr(error, "sqlite_errorcode", 0) & 0xFF in _READ_ONLY_OR_GONE
    if failed or getattr(error, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
        # SQLite keeps a closed connection open until its last statement is finalised
        # (sqlite.org/c3ref/close.html), and the error in flight holds that statement. Until then, a new
        # connection to the file would share its read-only state.
        if context.execution_context is not None:
            context.execution_context.cursor.close()


def _server_engine(url: str) -> Engine:
    """Create the engine of a database server, with timeouts: the network may fail silently for both ends."""
    url_options = make_url(url).query
    timeouts = {name: value for name, value in _client_timeouts().items() if name not in url_options}
    engine = create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args=timeouts,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_server_timeouts)
    event.listen(engine, "begin", _begin_on_server)
    event.listen(engine, "handle_error", _discard_read_only)
    return engine


def _client_timeouts() -> dict[str, int]:
    """Return timeouts for libpq (PostgreSQL 34.1.2); by default the kernel retries for a quarter of an hour."""
    return {
        "connect_timeout": round(SILENCE_S),
        "tcp_user_timeout": round(1e3 * SILENCE_S),
        "keepalives_idle": round(SILENCE_S / 3),
        "keepalives_interval": round(SILENCE_S / 3),
        "keepalives_count": 2,
    }


def _set_server_timeouts(connection: Any, _record: object) -> None:
    """Make the server end the session of a machine that is gone: it may hold a lock that others wait for."""
    timeouts = {
        "lock_timeout": round(1e3 * BUSY_TIMEOUT_S),
        "idle_in_transaction_session_timeout": round(1e3 * SILENCE_S),
        "tcp_user_timeout": round(1e3 * SILENCE_S),
        "tcp_keepalives_idle": round(SILENCE_S / 3),
        "tcp_keepalives_interval": round(SILENCE_S / 3),
        "tcp_keepalives_count": 2,
    }
    connection.autocommit = True
    calls = ", ".join("set_config(%s, %s, false)" for _ in timeouts)
    connection.execute(f"SELECT {calls}", [str(part) for setting in timeouts.items() for part in setting])
    connection.autocommit = False


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    # `hide_parameters`: an error message must not repeat values, for example the name of a file.
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _discard_read_only)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes late and is never IMMEDIATE. Without it, `_begin_sqlite` decides.
    connection.isolation_level = None
    _write_ahead(connection)
    connection.execute("PRAGMA foreign_keys=ON")
    # Deleted and replaced values are overwritten with zeros: an erased name must not stay in free space of a page.
    connection.execute("PRAGMA secure_delete=ON")


def _write_ahead(connection: Any) -> None:
    """Switch the file to WAL mode, which it keeps. Raises sqlite3.OperationalError after the busy timeout.

    Two processes that open a new file at the same instant block each other here, and SQLite does not wait
    by itself: neither can upgrade its lock while the other waits to do the same.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_NO_TRANSACTION):
        return
    if options.get(_READ_SNAPSHOT):
        connection.exec_driver_sql("BEGIN")
        return
    # In WAL mode, NORMAL keeps the order of commits, and the next FULL commit makes all earlier ones durable.
    connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if options.get(_WITHOUT_FSYNC) else 'FULL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_on_server(connection: Connection) -> None:
    if connection.get_execution_options().get(_WITHOUT_FSYNC):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def update_rows(session: Session, table: Any, condition: Any, **values: object) -> None:
    """Change the rows of a table for which the condition holds."""
    session.execute(
        update(table).where(condition).values(**values).execution_options(synchronize_session=False)
    )
