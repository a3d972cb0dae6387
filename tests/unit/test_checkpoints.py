"""worker.checkpoints: what a whole chain alone cannot show, a signed checkpoint outside the database does."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from tests.filling import fill
from tests.unit.ledger.test_audit import do_harm
from worker.checkpoints import CheckpointResult, Checkpoints
from worker.errors import TransientFailure, WrongSettings
from worker.ledger import audit
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, ChainHead


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "elsewhere" / "checkpoints.jsonl", tmp_path / "checkpoint.key")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "checkpoints.jsonl"


def checked(ledger: Ledger, kept: Checkpoints) -> CheckpointResult:
    return kept.check(ledger)


def is_whole(ledger: Ledger) -> bool:
    with ledger.reading() as session:
        return audit.verify(session).ok


def test_a_checkpoint_is_taken_when_something_has_happened(
    ledger: Ledger, kept: Checkpoints, file: Path
) -> None:
    assert checked(ledger, kept) == CheckpointResult(0, None)
    assert kept.take(ledger) is None
    fill(ledger, 1, 2)
    first = kept.take(ledger)
    assert first is not None
    with ledger.reading() as session:
        assert (first.seq, first.hash) == audit.head(session)
    assert kept.take(ledger) is None
    fill(ledger, 3)
    assert kept.take(ledger) is not None
    assert len(file.read_text().splitlines()) == 2
    assert checked(ledger, kept) == CheckpointResult(2, None)


def test_an_end_that_was_cut_off_cleanly_is_seen(ledger: Ledger, kept: Checkpoints) -> None:
    fill(ledger, 1, 2, 3)
    kept.take(ledger)
    fill(ledger, 4)
    kept.take(ledger)
    do_harm(ledger, "DELETE FROM audit_event WHERE seq > 4")
    with ledger.transaction() as session:
        (head,) = session.query(ChainHead)
        head.seq, head.hash = 4, audit.hash_of(session, 4) or ""
    assert is_whole(ledger), "the chain alone does not tell"
    assert checked(ledger, kept) == CheckpointResult(2, 2)


def test_a_trail_that_was_made_anew_is_seen(ledger: Ledger, kept: Checkpoints) -> None:
    fill(ledger, 1, 2, 3)
    kept.take(ledger)
    do_harm(ledger)
    with ledger.transaction() as session:
        session.execute(delete(AuditEvent))
        session.execute(update(ChainHead).values(seq=0, hash=audit.GENESIS))
        audit.append(session, [audit.Event("received", "x", f"image:{n}", {}) for n in range(9)])
    assert is_whole(ledger), "the chain alone does not tell"
    assert checked(ledger, kept) == CheckpointResult(1, 1)


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
    ids=["number", "hash", "time", "signature", "no base64", "no number", "no JSON", "another document"],
)
def test_a_line_that_was_changed_is_named(
    ledger: Ledger, kept: Checkpoints, file: Path, harm: Callable[[str], str]
) -> None:
    for n in range(3):
        fill(ledger, n)
        kept.take(ledger)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], harm(lines[1]), lines[2]]))
    assert checked(ledger, kept) == CheckpointResult(3, 2)


def test_an_older_line_that_is_put_in_the_place_of_a_later_one_is_named(
    ledger: Ledger, kept: Checkpoints, file: Path
) -> None:
    for n in range(3):
        fill(ledger, n)
        kept.take(ledger)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1], lines[0]]))
    assert checked(ledger, kept) == CheckpointResult(3, 3)


def test_what_another_key_has_signed_does_not_hold(
    ledger: Ledger, kept: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    Checkpoints(file, tmp_path / "another.key").take(ledger)
    fill(ledger, 2)
    kept.take(ledger)
    assert checked(ledger, kept) == CheckpointResult(2, 1)


def test_the_private_key_is_its_owners_alone_and_one_for_all(
    ledger: Ledger, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    key = tmp_path / "keys" / "checkpoint.key"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: Checkpoints(tmp_path / f"{n}.jsonl", key).take(ledger), range(4)))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(path.name for path in key.parent.iterdir()) == ["checkpoint.key", "checkpoint.pub"]
    for n in range(4):
        assert checked(ledger, Checkpoints(tmp_path / f"{n}.jsonl", key)) == CheckpointResult(1, None)


def test_two_who_take_one_at_the_same_instant_vouch_once(ledger: Ledger, kept: Checkpoints) -> None:
    fill(ledger, 1)
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda _: kept.take(ledger), range(12)))
    assert sum(each is not None for each in taken) == 1
    assert checked(ledger, kept) == CheckpointResult(1, None)


def test_checking_needs_the_public_key_and_nothing_else(
    ledger: Ledger, kept: Checkpoints, file: Path, tmp_path: Path
) -> None:
    fill(ledger, 1)
    kept.take(ledger)
    (tmp_path / "checkpoint.key").unlink()
    assert checked(ledger, kept) == CheckpointResult(1, None)
    shutil.copy(file, tmp_path / "checkpoint.pub")
    with pytest.raises(WrongSettings, match="is missing or not valid"):
        checked(ledger, kept)
    (tmp_path / "checkpoint.pub").unlink()
    with pytest.raises(WrongSettings, match="is missing or not valid"):
        checked(ledger, kept)


def test_what_cannot_be_written_or_signed_waits(ledger: Ledger, kept: Checkpoints, tmp_path: Path) -> None:
    fill(ledger, 1)
    (tmp_path / "elsewhere").write_text("not a folder")
    with pytest.raises(TransientFailure, match="cannot be written"):
        kept.take(ledger)
    (tmp_path / "elsewhere").unlink()
    (tmp_path / "checkpoint.key").write_text("not a key")
    with pytest.raises(TransientFailure, match="not an Ed25519 private key"):
        kept.take(ledger)
