"""worker.checkpoints: signed checkpoints detect changes that the hash chain alone cannot show."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from structlog.testing import capture_logs

from tests.filling import fill
from tests.unit.ledger.test_audit import do_harm
from worker.checkpoints import CheckpointResult, Checkpoints
from worker.errors import TransientFailure, WrongSettings
from worker.ledger import audit, schema
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, ChainHead
from worker.outages import Outages


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "elsewhere" / "checkpoints.jsonl", tmp_path / "checkpoint.key")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "checkpoints.jsonl"


def is_intact(ledger: Ledger) -> bool:
    with ledger.reading() as session:
        return audit.verify(session).ok


def test_a_checkpoint_is_taken_only_after_new_events(
    ledger: Ledger, checkpoints: Checkpoints, file: Path
) -> None:
    assert checkpoints.check(ledger) == CheckpointResult(0, None)
    assert checkpoints.take(ledger) is None
    fill(ledger, 1, 2)
    first = checkpoints.take(ledger)
    assert first is not None
    with ledger.reading() as session:
        assert audit.hash_of(session, first.seq) == first.hash
        assert audit.head(session)[0] == first.seq + 1, "an event names the checkpoint"
    assert checkpoints.take(ledger) is None
    fill(ledger, 3)
    assert checkpoints.take(ledger) is not None
    assert checkpoints.take(ledger) is None
    assert len(file.read_text().splitlines()) == 2
    assert checkpoints.check(ledger) == CheckpointResult(2, None)


def test_a_database_away_while_a_checkpoint_is_taken_is_the_one_warning_of_an_outage(
    tmp_path: Path, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.ledger.session.BUSY_TIMEOUT_S", 0.1)
    monkeypatch.setattr("worker.checkpoints.OUTAGES", Outages())
    ledger = Ledger(f"sqlite:///{tmp_path / 'nightread.db'}")
    schema.upgrade(ledger)
    fill(ledger, 1)
    with closing(sqlite3.connect(tmp_path / "nightread.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with capture_logs() as logs:
            assert checkpoints.take(ledger) is not None
    assert [entry["event"] for entry in logs] == ["out of reach: work waits, and nothing is lost"]
    assert checkpoints.check(ledger) == CheckpointResult(1, None), "the checkpoint itself is kept"
    ledger.close()


def test_deleting_the_last_events_is_detected(ledger: Ledger, checkpoints: Checkpoints) -> None:
    fill(ledger, 1, 2, 3)
    checkpoints.take(ledger)
    fill(ledger, 4)
    checkpoints.take(ledger)
    do_harm(ledger, "DELETE FROM audit_event WHERE seq > 4")
    with ledger.transaction() as session:
        (head,) = session.query(ChainHead)
        head.seq, head.hash = 4, audit.hash_of(session, 4) or ""
    assert is_intact(ledger), "the chain alone does not detect this"
    assert checkpoints.check(ledger) == CheckpointResult(2, 2)


def test_a_rebuilt_audit_trail_is_detected(ledger: Ledger, checkpoints: Checkpoints) -> None:
    fill(ledger, 1, 2, 3)
    checkpoints.take(ledger)
    do_harm(ledger)
    with ledger.transaction() as session:
        session.execute(delete(AuditEvent))
        session.execute(update(ChainHead).values(seq=0, hash=audit.GENESIS))
        audit.append(session, [audit.Event("received", "x", f"image:{n}", {}) for n in range(9)])
    assert is_intact(ledger), "the chain alone does not detect this"
    assert checkpoints.check(ledger) == CheckpointResult(1, 1)


def test_a_missing_file_that_the_trail_names_is_detected(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    first = checkpoints.take(ledger)
    fill(ledger, 2)
    checkpoints.take(ledger)
    assert first is not None
    assert checkpoints.check(ledger).ok
    lines = file.read_text().splitlines()
    file.write_text(lines[1])
    assert checkpoints.check(ledger) == CheckpointResult(1, None, first.seq)
    file.unlink()
    result = checkpoints.check(ledger)
    assert (result, result.ok) == (CheckpointResult(0, None, first.seq), False)
    # Signed again: the new file has no line for the earlier events.
    fill(ledger, 3)
    checkpoints.take(ledger)
    assert checkpoints.check(ledger) == CheckpointResult(1, None, first.seq)


def test_event_kept_elsewhere_shows_a_trail_made_anew(ledger: Ledger, checkpoints: Checkpoints) -> None:
    fill(ledger, 1)
    kept = checkpoints.take(ledger)
    assert kept is not None
    assert checkpoints.check(ledger, (kept.seq, kept.hash)).ok
    do_harm(ledger)
    with ledger.transaction() as session:
        session.execute(delete(AuditEvent))
        session.execute(update(ChainHead).values(seq=0, hash=audit.GENESIS))
        audit.append(session, [audit.Event("received", "x", f"image:{n}", {}) for n in range(9)])
    assert checkpoints.check(ledger, (kept.seq, kept.hash)).at_least is False
    assert not checkpoints.check(ledger, (10**15, kept.hash)).ok


def test_public_key_kept_elsewhere_shows_a_file_signed_again(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    checkpoints.take(ledger)
    kept = tmp_path / "kept.pub"
    shutil.copy(tmp_path / "checkpoint.pub", kept)
    key = tmp_path / "checkpoint.key"
    assert Checkpoints(file, key, kept).check(ledger).ok
    file.unlink()
    Checkpoints(file, tmp_path / "new.key").take(ledger)
    fill(ledger, 2)
    Checkpoints(file, tmp_path / "new.key").take(ledger)
    assert Checkpoints(file, key, kept).check(ledger).bad_checkpoint == 1


def changed(**values: object) -> Callable[[str], str]:
    return lambda line: json.dumps({**json.loads(line), **values})


@pytest.mark.parametrize(
    "harm",
    [
        changed(seq=1),
        changed(hash="0" * 64),
        changed(at="2020-01-01T00:00:00+00:00"),
        changed(signature="AAAA"),
        changed(signature="no base64!"),
        changed(seq="many"),
        lambda _: "no JSON",
        lambda line: json.dumps([line]),
    ],
    ids=["number", "hash", "time", "signature", "not base64", "not a number", "not JSON", "not an object"],
)
def test_a_changed_line_is_named(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, harm: Callable[[str], str]
) -> None:
    for n in range(3):
        fill(ledger, n)
        checkpoints.take(ledger)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], harm(lines[1]), lines[2]]))
    assert checkpoints.check(ledger).bad_checkpoint == 2


def test_an_older_line_replacing_a_later_is_named(
    ledger: Ledger, checkpoints: Checkpoints, file: Path
) -> None:
    for n in range(3):
        fill(ledger, n)
        checkpoints.take(ledger)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1], lines[0]]))
    assert checkpoints.check(ledger).bad_checkpoint == 3


def test_a_signature_of_another_key_is_not_valid(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    Checkpoints(file, tmp_path / "another.key").take(ledger)
    fill(ledger, 2)
    checkpoints.take(ledger)
    assert checkpoints.check(ledger) == CheckpointResult(2, 1)


def test_processes_share_one_private_key_of_the_owner(ledger: Ledger, file: Path, tmp_path: Path) -> None:
    fill(ledger, 1)
    key = tmp_path / "keys" / "checkpoint.key"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: Checkpoints(tmp_path / f"{n}.jsonl", key).take(ledger), range(4)))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(path.name for path in key.parent.iterdir()) == ["checkpoint.key", "checkpoint.pub"]
    for n in range(4):
        assert Checkpoints(tmp_path / f"{n}.jsonl", key).check(ledger).bad_checkpoint is None


def test_simultaneous_checkpoints_write_one_line(ledger: Ledger, checkpoints: Checkpoints) -> None:
    fill(ledger, 1)
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda _: checkpoints.take(ledger), range(12)))
    assert sum(checkpoint is not None for checkpoint in taken) == 1
    assert checkpoints.check(ledger) == CheckpointResult(1, None)


@pytest.mark.parametrize("tail", [b'{"seq": 12', b"\xff\x00", b"{}"])
def test_line_that_was_never_finished_is_cut(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, tail: bytes
) -> None:
    for number in (1, 2):
        fill(ledger, number)
        checkpoints.take(ledger)
    with file.open("ab") as unfinished:
        unfinished.write(tail)
    assert checkpoints.check(ledger).bad_checkpoint == 3
    fill(ledger, 3)
    assert checkpoints.take(ledger) is not None
    assert checkpoints.check(ledger) == CheckpointResult(3, None)


def test_full_disk_leaves_the_checkpoints_as_they_were(
    ledger: Ledger, checkpoints: Checkpoints, file: Path
) -> None:
    fill(ledger, 1)
    checkpoints.take(ledger)
    before = file.read_bytes()
    fill(ledger, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(TransientFailure):
            checkpoints.take(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert checkpoints.take(ledger) is not None
    assert checkpoints.check(ledger) == CheckpointResult(2, None)


def test_checking_needs_only_the_public_key(
    ledger: Ledger, checkpoints: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    checkpoints.take(ledger)
    (tmp_path / "checkpoint.key").unlink()
    assert checkpoints.check(ledger) == CheckpointResult(1, None)
    shutil.copy(file, tmp_path / "checkpoint.pub")
    with pytest.raises(WrongSettings, match="is missing or not valid"):
        checkpoints.check(ledger)
    (tmp_path / "checkpoint.pub").unlink()
    with pytest.raises(WrongSettings, match="is missing or not valid"):
        checkpoints.check(ledger)


def test_a_failed_checkpoint_is_a_transient_failure(
    ledger: Ledger, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    fill(ledger, 1)
    (tmp_path / "elsewhere").write_text("not a folder")
    with pytest.raises(TransientFailure, match="cannot be written"):
        checkpoints.take(ledger)
    (tmp_path / "elsewhere").unlink()
    (tmp_path / "checkpoint.key").write_text("not a key")
    with pytest.raises(TransientFailure, match="not an Ed25519 private key"):
        checkpoints.take(ledger)
