"""worker.ledger.accesses, access_batches and worker.access_chain: who saw what, proven by the audit trail."""

from __future__ import annotations

import hashlib
import json

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.filling import AT, assert_consistent, later
from tests.triggers import switch_off_triggers
from worker.access_chain import chain_accesses
from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import access_batches, accesses, audit, comparison
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.comparison import Mismatch
from worker.ledger.schema import upgrade
from worker.ledger.session import Ledger, utc_now
from worker.ledger.tables import AccessReason, AccessRecord, AuditEvent

REASON = "Doe, John asks for a second opinion"


def view(ledger: Ledger, image_id: int = 1, actor: str = "user:1") -> None:
    with ledger.transaction() as session:
        accesses.record(session, Access(AccessKind.VIEW, actor, image_id, code="page"), AT)


def download(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        accesses.record(session, Access(AccessKind.ORIGINAL, "token:3", 1, reason=REASON), AT)


def batch_events(ledger: Ledger) -> list[str]:
    with ledger.reading() as session:
        return list(session.scalars(select(AuditEvent.payload).where(AuditEvent.kind == "accesses_chained")))


@pytest.fixture
def chained(ledger: Ledger) -> Ledger:
    """Return a ledger with two batches: of three accesses, and of one."""
    view(ledger)
    download(ledger)
    view(ledger, image_id=2)
    assert chain_accesses(ledger) == 3
    view(ledger)
    assert chain_accesses(ledger) == 1
    return ledger


def test_batches_prove_their_accesses(chained: Ledger) -> None:
    assert len(batch_events(chained)) == 2
    assert_consistent(chained)


def test_nothing_to_chain_appends_no_event(chained: Ledger) -> None:
    assert chain_accesses(chained) == 0
    assert len(batch_events(chained)) == 2


def test_new_accesses_wait_for_more(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        accesses.record(session, Access(AccessKind.SEARCH, "user:1"), utc_now())
    assert chain_accesses(ledger, max_age_s=3600) == 0
    assert chain_accesses(ledger, max_age_s=0) == 1


def test_many_accesses_become_several_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_batches, "BATCH", 2)
    for _ in range(5):
        view(ledger)
    assert chain_accesses(ledger) == 5
    assert len(batch_events(ledger)) == 3
    assert_consistent(ledger)


def test_changed_access_is_found_in_its_batch(chained: Ledger) -> None:
    changes = {
        "another actor": "UPDATE access_record SET actor = 'user:2' WHERE id = 2",
        "another image": "UPDATE access_record SET image_id = NULL WHERE id = 1",
        "another run": "UPDATE access_record SET run_id = 5 WHERE id = 1",
        "another time": "UPDATE access_record SET at = '2020-01-01 00:00:00+00:00' WHERE id = 3",
        "another kind": "UPDATE access_record SET kind = 'prefetch' WHERE id = 3",
        "another code": "UPDATE access_record SET code = 'picture' WHERE id = 3",
        "another number": "UPDATE access_record SET total = 2 WHERE id = 3",
        "another id": "UPDATE access_record SET id = 0 WHERE id = 1",
        "the first is deleted": "DELETE FROM access_record WHERE id = 1",
        "the last is deleted": "DELETE FROM access_record WHERE id = 3",
        "one is inserted": "INSERT INTO access_record (id, at, kind, actor, code, total) "
        "VALUES (-5, '2020-01-01 00:00:00+00:00', 'view', 'user:1', '', 1)",
    }
    noticed = [Mismatch("access_batch:1", "accesses")]
    assert {
        what: found for what, change in changes.items() if (found := after(chained, change)) != noticed
    } == {}
    assert "changed, deleted or inserted" in str(noticed[0])


def test_changed_seal_and_reason_are_found(chained: Ledger) -> None:
    changed_reason = [Mismatch("access:2", "reason")]
    assert after(chained, "UPDATE access_reason SET reason = 'x'") == changed_reason
    assert after(chained, "DELETE FROM access_reason") == changed_reason
    changed_seal = after(chained, "UPDATE access_record SET reason_seal = 'x' WHERE id = 2")
    assert changed_seal == [Mismatch("access_batch:1", "accesses"), *changed_reason]


def test_deleted_batch_is_found(chained: Ledger) -> None:
    assert after(chained, "DELETE FROM access_batch WHERE id = 2") == [Mismatch("access_batch:2", "row")]


def test_batch_made_anew_is_not_what_the_trail_says(chained: Ledger) -> None:
    found = after(
        chained,
        "DELETE FROM access_record WHERE id = 4",
        "UPDATE access_batch SET last_id = 4, total = 0 WHERE id = 2",
    )
    assert Mismatch("access_batch:2", "total", 0, 1) in found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE access_record SET total = 9",
        "DELETE FROM access_record",
        "UPDATE access_batch SET total = 9",
        "DELETE FROM access_batch",
    ],
)
def test_database_refuses_to_change_accesses(chained: Ledger, statement: str) -> None:
    with pytest.raises((DBAPIError, TransientFailure), match="append-only"), chained.transaction() as session:
        session.execute(text(statement))


def test_reason_stands_beside_its_seal_and_can_be_erased(chained: Ledger) -> None:
    with chained.reading() as session:
        row = session.scalars(select(AccessRecord).where(AccessRecord.kind == "original")).one()
        assert row.reason_seal
        assert session.get_one(AccessReason, row.id).reason == REASON
        assert not [event for event in session.scalars(select(AuditEvent.payload)) if "Doe" in event]
    with chained.transaction() as session:
        session.execute(text("UPDATE access_reason SET reason = '', salt = NULL"))
    with chained.reading() as session:
        result = comparison.compare(session)
    assert (result.mismatches, result.erased) == ([], {"access_reason.reason": 1})


def test_has_seen_looks_at_actor_kind_and_time(ledger: Ledger) -> None:
    view(ledger)
    with ledger.reading() as session:
        assert accesses.has_seen(session, "user:1", 1, AccessKind.VIEW, AT)
        assert not accesses.has_seen(session, "user:2", 1, AccessKind.VIEW, AT)
        assert not accesses.has_seen(session, "user:1", 2, AccessKind.VIEW, AT)
        assert not accesses.has_seen(session, "user:1", 1, AccessKind.PREFETCH, AT)
        assert not accesses.has_seen(session, "user:1", 1, AccessKind.VIEW, later(1))


def test_digest_is_that_of_lines_of_json() -> None:
    """Written out in full, because another program must be able to verify a batch."""
    rows = [
        (1, AT, "view", "user:1", 123, None, "", 1, None),
        (2, AT, "original", 'ae:"\\\n 夜', None, 7, "\x00\x1f", 2, "a" * 64),
        # Values that only somebody who changes the database can write.
        (3, AT, "view", "user:1", 1.5, True, "", 1, None),
    ]
    digest = access_batches.Digest()
    for row in rows:
        digest.add(row)
    lines = [
        json.dumps([row[0], row[1].isoformat(timespec="microseconds"), *row[2:]], ensure_ascii=False)
        for row in rows
    ]
    assert digest.sha256 == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert (digest.first_id, digest.last_id, digest.total) == (1, 3, 3)


def test_second_chainer_appends_nothing(ledger: Ledger) -> None:
    view(ledger)
    with ledger.reading() as session:
        digest = access_batches.digest_of(session, 0, 1)
    for appended in (True, False):
        with ledger.transaction() as session:
            assert access_batches.append(session, 0, digest, AT) is appended
    assert_consistent(ledger)


@pytest.mark.postgres
def test_access_does_not_wait_for_the_chain(postgres_url: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url).database)
    upgrade(ledger)
    with ledger.transaction() as appending:
        audit.lock(appending)
        with ledger.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1ms'"))
            accesses.record(session, Access(AccessKind.VIEW, "user:1", 1), AT)
    ledger.close()


@pytest.mark.postgres
def test_batch_waits_for_an_access_that_is_not_committed(postgres_url: str) -> None:
    ledger = Ledger(Settings(database_url=postgres_url).database)
    upgrade(ledger)
    with ledger.transaction() as slow:
        accesses.record(slow, Access(AccessKind.VIEW, "user:1", 1), AT)
        view(ledger, image_id=2)
        assert chain_accesses(ledger) == 0, "access 1 may still be committed"
    assert chain_accesses(ledger) == 2
    assert_consistent(ledger)
    with ledger.engine.begin() as connection:
        connection.execute(select(func.nextval("access_record_id_seq")))
    view(ledger)
    assert chain_accesses(ledger) == 1, "the id of an access that was never committed is a gap"
    assert_consistent(ledger)
    ledger.close()


def after(ledger: Ledger, *statements: str) -> list[Mismatch]:
    """Return what the comparison finds after somebody who owns the database has changed rows. Undo the change."""
    with ledger.engine.connect() as connection, Session(connection) as session:
        switch_off_triggers(session)
        for statement in statements:
            session.execute(text(statement))
        found = comparison.compare(session).mismatches
        session.rollback()
        return found
