from __future__ import annotations

import gc
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from tests.filling import AT, counted, fill
from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import audit, schema
from worker.ledger.session import BUSY_TIMEOUT_S, Ledger, ledger_time
from worker.ledger.tables import Image, Run


def add_run(session: Session, name: str, at: datetime = AT) -> None:
    session.add(Run(name=name, started_at=at))
    session.flush()


def test_time_is_read_back_as_aware_utc(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        add_run(session, "tokyo", datetime(2026, 3, 2, 7, 0, 0, 123456, tzinfo=timezone(timedelta(hours=9))))
    with ledger.reading() as session:
        started = session.scalars(select(Run.started_at)).one()
    assert started == datetime(2026, 3, 1, 22, 0, 0, 123456, tzinfo=UTC)
    assert started.tzinfo is UTC


def test_naive_time_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(StatementError, match="without a timezone"), ledger.transaction() as session:
        add_run(session, "nowhere", datetime(2026, 3, 1))  # noqa: DTZ001 - what is refused


def test_exception_rolls_back_the_transaction(ledger: Ledger) -> None:
    def twice(session: Session) -> None:
        add_run(session, "twice")
        add_run(session, "twice")

    with pytest.raises(IntegrityError), ledger.transaction() as session:
        twice(session)
    with ledger.reading() as session:
        assert session.scalars(select(Run)).all() == []


def test_reading_sees_one_snapshot(ledger: Ledger) -> None:
    fill(ledger, 1)
    with ledger.reading() as session:
        before = session.scalars(select(Run.name)).all()
        fill(ledger, 2, run="meanwhile")
        assert session.scalars(select(Run.name)).all() == before
    assert counted(ledger).received == 2


@pytest.mark.postgres
def test_terminated_backend_is_a_transient_failure(postgres_url: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url).database)
    schema.upgrade(ledger)
    with pytest.raises(TransientFailure), ledger.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    fill(ledger, 1)
    ledger.close()


@pytest.mark.postgres
@pytest.mark.parametrize("code", ["25006", "40P01", "53100", "57P03"])
def test_temporary_server_error_is_a_transient_failure(postgres_url: str, code: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url).database)
    # The server itself raises these: read-only replica, deadlock, full disk, start-up.
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(TransientFailure, match="not now"), ledger.transaction() as session:
        session.execute(text(statement))
    ledger.close()


@pytest.mark.postgres
def test_locked_database_is_a_transient_failure(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ledger.session.BUSY_TIMEOUT_S", 0.1)
    ledger = Ledger(Settings(database_url=database_url).database)
    schema.upgrade(ledger)
    with ledger.transaction() as first:
        audit.lock(first)
        with pytest.raises(TransientFailure, match="lock"), ledger.transaction() as second:
            audit.lock(second)
    ledger.close()


@pytest.mark.postgres
def test_silent_transaction_is_ended_by_the_server(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Ledger(Settings(database_url=postgres_url).database)
    schema.upgrade(patient)
    monkeypatch.setattr("worker.ledger.session.SILENCE_S", 2.0)
    cut_off = Ledger(Settings(database_url=postgres_url).database)

    def fall_silent(session: Session) -> None:
        audit.lock(session)
        fill(patient, 1)
        audit.lock(session)

    with pytest.raises(TransientFailure, match="idle-in-transaction"), cut_off.transaction() as session:
        fall_silent(session)
    fill(cut_off, 2)
    for engine in (patient, cut_off):
        engine.close()


def test_ledger_time_is_that_of_the_database_server(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ledger.session.utc_now", lambda: AT)
    with ledger.reading() as session:
        now = ledger_time(session)
    assert now.tzinfo is UTC
    off_by = abs(now - datetime.now(UTC))
    assert (now == AT) if ledger.engine.dialect.name == "sqlite" else off_by < timedelta(minutes=5)


@pytest.mark.postgres
def test_timeout_in_the_url_is_kept(postgres_url: str) -> None:
    def patience(url: str) -> str:
        ledger = Ledger(Settings(database_url=url).database)
        with ledger.reading() as session:
            connection = session.connection().connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            chosen = connection.info.get_parameters()["tcp_user_timeout"]
        ledger.close()
        return chosen

    assert patience(postgres_url) == "15000"
    assert patience(f"{postgres_url}&tcp_user_timeout=70") == "70"


def test_opening_waits_for_another_process_that_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # The file is not in WAL mode and has a write lock: SQLite refuses the change of mode without waiting.
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.rollback)
    done.start()
    ledger = Ledger(f"sqlite:///{path}")
    schema.upgrade(ledger)
    done.join()
    assert counted(ledger).balanced
    ledger.close()
    other.close()


def test_only_a_hint_commits_without_fsync(ledger: Ledger) -> None:
    sqlite = ledger.engine.dialect.name == "sqlite"
    asks, waits, waits_not = (
        ("PRAGMA synchronous", 2, 1) if sqlite else ("SHOW synchronous_commit", "on", "off")
    )
    for hint in (False, True, False):
        with ledger.transaction(without_fsync=hint) as session:
            assert session.scalar(text(asks)) == (waits_not if hint else waits)


def test_error_message_holds_no_values(ledger: Ledger) -> None:
    of_no_run = {
        "sha256": "a" * 64,
        "bytes": 1,
        "phantom": False,
        "original_name": "DOE^JANE.jpg",
        "run_id": 999,
        "lane": "overnight",
        "state": "pending",
        "received_at": AT,
        "attempts": 0,
    }
    with pytest.raises(IntegrityError) as refused, ledger.transaction() as session:
        session.execute(insert(Image).values(**of_no_run))
    assert "INSERT INTO image" in str(refused.value)
    assert "DOE^JANE" not in str(refused.value)


def test_read_only_connection_is_closed_at_once(tmp_path: Path) -> None:
    """Within a process SQLite shares how a file was opened: one remaining read-only handle blocks all writes."""
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(f"sqlite:///{path}")
    schema.upgrade(ledger)
    ledger.close()
    event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
    gc.disable()
    try:
        with pytest.raises(TransientFailure, match="readonly"), ledger.transaction() as session:
            add_run(session, "night")
        assert [
            file.path for file in psutil.Process().open_files() if Path(file.path).parent == tmp_path
        ] == []
    finally:
        gc.enable()


def test_read_only_file_cannot_forget_yet(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(f"sqlite:///{path}")
    schema.upgrade(ledger)
    fill(ledger, 1)
    read_only = Ledger(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(TransientFailure, match="cannot be used now"):
        read_only.forget()
    log = Path(f"{path}-wal")
    assert log.stat().st_size > 0
    ledger.forget()
    assert not log.exists() or log.stat().st_size == 0


def test_forgetting_does_not_wait_long_for_a_reader(tmp_path: Path) -> None:
    """The checkpoint holds the write lock meanwhile, so nothing could be accepted or scored."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    schema.upgrade(ledger)
    with ledger.reading() as session:
        session.scalars(select(Run)).all()
        fill(ledger, 1)
        begin = time.monotonic()
        ledger.forget()
        assert time.monotonic() - begin < BUSY_TIMEOUT_S / 2
    with ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1e3 * BUSY_TIMEOUT_S
