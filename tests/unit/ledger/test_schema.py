from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.conftest import HANG_S
from tests.filling import assert_consistent, fill
from worker.config import ROOT, Settings
from worker.errors import SchemaOutdated, TransientFailure
from worker.ledger import schema
from worker.ledger.session import Ledger


def test_migrations_create_the_tables_of_this_program(ledger: Ledger) -> None:
    assert schema.differences(ledger) == []


def test_differences_finds_a_missing_column(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        session.execute(text("ALTER TABLE run ADD COLUMN surplus INTEGER"))
    assert len(schema.differences(ledger)) == 1


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET kind = 'x'", "DELETE FROM audit_event"])
def test_audit_events_cannot_be_changed_or_deleted(ledger: Ledger, statement: str) -> None:
    fill(ledger, 1)
    with pytest.raises((DBAPIError, TransientFailure), match="append-only"), ledger.transaction() as session:
        session.execute(text(statement))
    assert_consistent(ledger)


@pytest.mark.postgres
def test_audit_events_cannot_be_truncated_on_postgresql(postgres_url: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url).database)
    schema.upgrade(ledger)
    fill(ledger, 1)
    with pytest.raises(DBAPIError, match="append-only"), ledger.transaction() as session:
        session.execute(text("TRUNCATE audit_event"))
    assert_consistent(ledger)
    ledger.close()


def test_second_upgrade_changes_nothing(ledger: Ledger) -> None:
    fill(ledger, 1, 2)
    assert schema.upgrade(ledger) == schema.newest() == schema.current(ledger)
    assert assert_consistent(ledger).received == 2


@pytest.mark.slow
def test_two_upgrades_at_once_create_one_schema(database_url: str) -> None:
    url = Settings(database_url=database_url).database
    program = (
        "import sys; from worker.ledger import schema, session; schema.upgrade(session.Ledger(sys.argv[1]))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=HANG_S)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)
    ledger = Ledger(url)
    assert schema.differences(ledger) == []
    fill(ledger, 1)
    assert_consistent(ledger)
    ledger.close()


def test_database_of_a_newer_version_is_left_alone(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="A newer version of Nightread"):
        schema.upgrade(ledger)
    assert schema.current(ledger) == "9999"


def test_open_ledger_needs_a_schema(database_url: str) -> None:
    with pytest.raises(SchemaOutdated, match="nightread db upgrade"):
        schema.open_ledger(Settings(database_url=database_url).database)


def test_unreachable_database_is_a_transient_failure(tmp_path: Path) -> None:
    nowhere = Settings(database_url="postgresql://someone:secret@127.0.0.1:9/none").database
    with pytest.raises(TransientFailure) as failure:
        schema.open_ledger(nowhere)
    assert "secret" not in str(failure.value)


def test_file_that_is_no_database_is_a_transient_failure(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(TransientFailure, match="not a database"):
        schema.open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
