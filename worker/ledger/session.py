"""The ledger's engine, and `transaction()`: the only way to write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, func, make_url, select
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from worker.errors import TransientFailure

# How long a lock is waited for, on both databases.
BUSY_TIMEOUT_S = 30.0
# How long the other end of a connection may be silent before either end gives it up.
SILENCE_S = 15.0
_BUSY_PAUSE_S = 0.01
_READING = "nightread_reading"
_HINT = "nightread_hint"
# A statement was to write where only reading is possible now (PostgreSQL, appendix A).
_READ_ONLY = "25006"
# The same of a file, and what is said of one on a share or a disk that went away (sqlite.org/rescode.html).
_FILE_FAILED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def utc_now() -> datetime:
    """The time as the ledger records it: UTC, timezone-aware."""
    return datetime.now(UTC)


def ledger_time(session: Session) -> datetime:
    """The time by the ledger's own clock, on which all of its processes agree.

    Of PostgreSQL's machine, so that the workers' need not agree with it; SQLite's is this one.
    """
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    told: datetime = session.scalars(select(func.clock_timestamp())).one()
    return told.astimezone(UTC)


class Ledger:
    """The database behind one URL. Opening it connects to nothing yet."""

    def __init__(self, url: str) -> None:
        """Make the engine for `url` (sqlite:///PATH or postgresql+psycopg://...)."""
        if url.startswith("sqlite"):
            self.engine = _sqlite_engine(url)
            self._snapshot: dict[str, Any] = {_READING: True}
        else:
            self.engine = _server_engine(url)
            # Several counts have to fit together; SQLite's readers see one snapshot anyway.
            self._snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._hints = self.engine.execution_options(**{_HINT: True})

    @contextmanager
    def transaction(self, *, hint: bool = False) -> Iterator[Session]:
        """Write: commits when the block ends, rolls back when it raises.

        On SQLite the write lock is taken at once (BEGIN IMMEDIATE), so that what is read
        inside stays true until the commit. Raises TransientFailure when the database is
        locked, gone or otherwise out of reach.

        Args:
            hint: nothing is lost if a power cut takes this back, so nobody waits for the disk. For who
                works on what, and what stands in which queue; never for what anybody was told.
        """
        with (
            _transient_when_disconnected(),
            Session(self._hints if hint else self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read one consistent snapshot; what is changed inside is thrown away.

        Do nothing slow inside: PostgreSQL ends a session that idles in a transaction.
        """
        with (
            _transient_when_disconnected(),
            self.engine.connect().execution_options(**self._snapshot) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def close(self) -> None:
        """Close every pooled connection; a later use opens new ones."""
        self.engine.dispose()


@contextmanager
def _transient_when_disconnected() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise TransientFailure("the database cannot be used now: every connection is taken") from error
    except DBAPIError as error:
        if _out_of_reach(error):
            raise TransientFailure(f"the database cannot be used now: {error.orig}") from error
        raise


def _out_of_reach(error: DBAPIError) -> bool:
    """Whether it tells of the database's state (PEP 249), and not of what it was asked to do."""
    return error.connection_invalidated or isinstance(error, OperationalError) or type(error) is DatabaseError


def _open_anew(context: ExceptionContext) -> None:
    """Use no connection again that was opened while the database could not be written: it stays like that."""
    error = context.original_exception
    failed = getattr(error, "sqlite_errorcode", 0) & 0xFF in _FILE_FAILED
    if failed or getattr(error, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
        # SQLite keeps what is closed open until its last statement is gone (sqlite.org/c3ref/close.html), and
        # the error that is on its way holds this one. Whoever opens the file meanwhile shares how it was opened.
        if context.execution_context is not None:
            context.execution_context.cursor.close()


def _server_engine(url: str) -> Engine:
    """Of a server: a network lies between, and it may be cut without either end being told."""
    given = make_url(url).query
    patience = {name: value for name, value in _client_patience().items() if name not in given}
    engine = create_engine(
        url,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args=patience,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _ask_server_for_patience)
    event.listen(engine, "begin", _begin_on_server)
    event.listen(engine, "handle_error", _open_anew)
    return engine


def _client_patience() -> dict[str, int]:
    """What libpq is told (PostgreSQL 34.1.2): by default the kernel goes on sending for a quarter of an hour."""
    return {
        "connect_timeout": round(SILENCE_S),
        "tcp_user_timeout": round(1e3 * SILENCE_S),
        "keepalives_idle": round(SILENCE_S / 3),
        "keepalives_interval": round(SILENCE_S / 3),
        "keepalives_count": 2,
    }


def _ask_server_for_patience(connection: Any, _record: object) -> None:
    """Have the server end a session whose machine is gone: it may hold the lock that all others wait for."""
    patience = {
        "lock_timeout": round(1e3 * BUSY_TIMEOUT_S),
        "idle_in_transaction_session_timeout": round(1e3 * SILENCE_S),
        "tcp_user_timeout": round(1e3 * SILENCE_S),
        "tcp_keepalives_idle": round(SILENCE_S / 3),
        "tcp_keepalives_interval": round(SILENCE_S / 3),
        "tcp_keepalives_count": 2,
    }
    connection.autocommit = True
    each = ", ".join("set_config(%s, %s, false)" for _ in patience)
    connection.execute(f"SELECT {each}", [str(part) for pair in patience.items() for part in pair])
    connection.autocommit = False


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    # An error's message would repeat what was to be written, a file's name for instance.
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _open_anew)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes late and never IMMEDIATE; without it SQLAlchemy's "begin" decides.
    connection.isolation_level = None
    _write_ahead(connection)
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: Any) -> None:
    """Put the file into WAL, which it keeps. Raises sqlite3.OperationalError after the busy timeout.

    Two processes that open a new file at the same instant block each other here, and SQLite does
    not wait for that by itself: a lock cannot be raised while another waits to raise its own.
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
    if options.get(_READING):
        connection.exec_driver_sql("BEGIN")
        return
    # In WAL, NORMAL leaves the order of commits as it is, and the next FULL one makes all before it durable.
    connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if options.get(_HINT) else 'FULL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_on_server(connection: Connection) -> None:
    if connection.get_execution_options().get(_HINT):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
