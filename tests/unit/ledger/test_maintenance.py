from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from tests.filling import assert_consistent, counted, fill, score
from tests.ledgers import current_ledger
from tests.old_ledger import fill_old_ledger
from worker.config import Settings
from worker.ledger import maintenance, schema, tallies
from worker.ledger.session import Ledger
from worker.ledger.tables import Image, Prediction

# Run, two files, model, operating point, two scores.
EVENTS = 7


def wrong(ledger: Ledger) -> list[str]:
    return [f.summary for f in maintenance.check(ledger) if not f.ok]


def test_check_passes_on_an_intact_ledger(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1, 2))
    assert len(maintenance.check(ledger)) == 7
    assert wrong(ledger) == []


def test_check_names_what_is_wrong(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    score(ledger, ids)
    with ledger.transaction() as session:
        session.execute(delete(Prediction).where(Prediction.image_id == ids[0]))
    assert wrong(ledger) == [
        "1 differences between the tables and the audit trail",
        "1 scored images without a prediction",
    ]
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == ids[1]).values(state="lost"))
        session.execute(text("UPDATE chain_head SET hash = 'x'"))
        session.execute(text("CREATE TABLE surplus (id INTEGER)"))
    assert [what.split(",")[0] for what in wrong(ledger)] == [
        "1 differences between the database and the schema of this program",
        "2 received = 0 duplicates + 1 scored + 0 rejected + 0 quarantined + 0 pending + 0 being scored",
        f"audit trail of {EVENTS} intact events",
        "2 differences between the tables and the audit trail",
        "1 scored images without a prediction",
    ]


def test_check_counts_what_an_earlier_version_left_unproven(database_url: str) -> None:
    ledger = Ledger(Settings(database_url=database_url).database)
    fill_old_ledger(ledger)
    schema.upgrade(ledger)
    (unproven,) = [result for result in maintenance.check(ledger) if "without proof" in result.summary]
    assert unproven.ok
    assert "5 receipt.original_name" in unproven.names
    assert wrong(ledger) == []
    ledger.close()


def test_check_names_wrong_tallies(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1, 2))
    with ledger.transaction() as session:
        session.execute(text("UPDATE image_tally SET total = total + 1 WHERE state = 'scored'"))
        session.execute(text("UPDATE receipt_tally SET total = total + 1"))
        session.execute(text("UPDATE prediction_tally SET total = total - 1"))
    assert counted(ledger).balanced, "the equation alone cannot show it"
    assert wrong(ledger) == ["3 tallies that differ from a count of the rows"]


def test_repair_counts_wrong_tallies_again(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1, 2))
    with ledger.transaction() as session:
        assert tallies.repair(session) == 0
        session.execute(text("UPDATE image_tally SET total = total + 1 WHERE state = 'scored'"))
        session.execute(text("DELETE FROM receipt_tally"))
    with ledger.transaction() as session:
        assert tallies.repair(session) == 2
    assert wrong(ledger) == []
    score(ledger, fill(ledger, 3))
    assert (counted(ledger).received, counted(ledger).scored) == (3, 3)
    assert wrong(ledger) == []
    assert_consistent(ledger)


def test_check_of_a_missing_schema_stops_there(database_url: str) -> None:
    ledger = Ledger(Settings(database_url=database_url).database)
    assert wrong(ledger) == [f"schema revision None; this program needs {schema.newest()}"]
    ledger.close()


def test_backup_can_be_opened_and_is_complete(tmp_path: Path) -> None:
    ledger = current_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    score(ledger, fill(ledger, 1, 2, 3))
    target = tmp_path / "kept" / "copy.sqlite3"
    target.parent.mkdir()
    maintenance.backup(ledger, target)
    fill(ledger, 4)
    copy = Ledger(f"sqlite:///{target}")
    counts = assert_consistent(copy)
    assert (counts.received, counts.scored) == (3, 3)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [path.name for path in target.parent.glob("*.part")] == []
    for opened in (ledger, copy):
        opened.close()


def test_backup_never_overwrites_a_file(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(maintenance.BackupFailed, match="never overwrites a file"):
        maintenance.backup(ledger, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_full_disk_fails_a_backup_with_a_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    ledger = current_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(maintenance.BackupFailed, match="The database cannot be copied"):
            maintenance.backup(ledger, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ledger.close()
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.postgres
def test_pg_dump_gets_no_password_on_its_command_line(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pg_dump of another release than the server's fails, so a stand-in records its command line.
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" "$PGPASSWORD" > "${2#--file=}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    ledger = Ledger("postgresql+psycopg://ada:se%2Fcret@db.example:5433/night")
    maintenance.backup(ledger, tmp_path / "copy")
    recorded = (tmp_path / "copy").read_text().split()
    assert recorded[0] == "--format=custom"
    assert recorded[2:] == ["--dbname=postgresql://ada@db.example:5433/night", "se/cret"]


@pytest.mark.postgres
def test_failed_backup_says_why_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    program.write_text('#!/bin/sh\ntouch "${2#--file=}"\necho "server version mismatch" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    ledger = Ledger("postgresql+psycopg://ada@db.example/night")
    with pytest.raises(maintenance.BackupFailed, match="server version mismatch"):
        maintenance.backup(ledger, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))
