from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.filling import AT, NOT_AN_IMAGE, arrival, assert_consistent, fill, image, receive, sha256
from worker.ledger.file_counts import file_counts
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Outcome
from worker.ledger.tables import Image, Receipt, Run


def test_new_file_gets_a_receipt_and_a_pending_image(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        (recorded,) = receive(session, arrival(1, key="a"))
    assert recorded is not None
    assert recorded.outcome is Outcome.NEW
    kept = image(ledger, recorded.image_id)
    assert (kept.sha256, kept.state, kept.attempts, kept.received_at) == (sha256(1), "pending", 0, AT)
    assert assert_consistent(ledger).pending == 1


def test_same_bytes_are_a_duplicate_within_and_across_groups(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        first, second, other = receive(session, arrival(1, key="a"), arrival(1, key="b"), arrival(2, key="c"))
    with ledger.transaction() as session:
        (third,) = receive(session, arrival(1, key="d"), run="another night")
    rows = [row for row in (first, second, other, third) if row is not None]
    outcomes = [row.outcome for row in rows]
    assert outcomes == [Outcome.NEW, Outcome.DUPLICATE, Outcome.NEW, Outcome.DUPLICATE]
    assert len({rows[0].image_id, rows[1].image_id, rows[3].image_id}) == 1
    assert rows[2].image_id != rows[0].image_id
    total = assert_consistent(ledger)
    assert (total.received, total.duplicates, total.images) == (4, 2, 2)


def test_each_run_is_balanced_with_duplicates_of_another_run(ledger: Ledger) -> None:
    fill(ledger, 1, 2, run="monday")
    fill(ledger, 2, 3, run="tuesday")
    with ledger.reading() as session:
        for run in session.scalars(select(Run)):
            counts = file_counts(session, run.id)
            assert counts.balanced, counts.equation
            assert counts.received == 2
            assert counts.duplicates == (1 if run.name == "tuesday" else 0)


def test_file_rejected_by_the_intake_has_its_reason(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        (recorded,) = receive(session, arrival(1, rejection=NOT_AN_IMAGE))
    assert recorded is not None
    assert (recorded.outcome, recorded.reason) == (Outcome.REJECTED, NOT_AN_IMAGE[1])
    kept = image(ledger, recorded.image_id)
    assert (kept.state, kept.reason_code, kept.reason) == (ImageState.REJECTED, *NOT_AN_IMAGE)
    with ledger.transaction() as session:
        (again,) = receive(session, arrival(1, rejection=NOT_AN_IMAGE))
    assert again is not None
    assert again.outcome is Outcome.DUPLICATE
    total = assert_consistent(ledger)
    assert (total.received, total.rejected, total.duplicates) == (2, 1, 1)


def test_arrival_seen_again_gets_no_second_receipt(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        receive(session, arrival(1, key="dev:ino:1"))
    with ledger.transaction() as session:
        seen, new = receive(session, arrival(1, key="dev:ino:1"), arrival(2, key="dev:ino:2"))
    assert seen is None
    assert new is not None
    assert assert_consistent(ledger).received == 2


def test_arrival_twice_in_a_group_gets_one_receipt(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        first, second = receive(session, arrival(1, key="same"), arrival(1, key="same"))
    assert first is not None
    assert second is None
    assert assert_consistent(ledger).received == 1


def test_every_arrival_without_a_key_gets_a_receipt(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        assert None not in receive(session, arrival(1), arrival(1))
    assert assert_consistent(ledger).received == 2


def test_same_bytes_at_the_same_instant_are_one_image(ledger: Ledger) -> None:
    # The run exists already, so only the lock on the head of the chain serialises the writers.
    fill(ledger, 99)
    start = Barrier(8)

    def drop(thread: int) -> Outcome:
        start.wait(10)
        with ledger.transaction() as session:
            (recorded,) = receive(session, arrival(1, key=f"thread {thread}"))
        assert recorded is not None
        return recorded.outcome

    with ThreadPoolExecutor(8) as threads:
        outcomes = sorted(threads.map(drop, range(8)))
    assert outcomes == [Outcome.DUPLICATE] * 7 + [Outcome.NEW]
    total = assert_consistent(ledger)
    assert (total.received, total.images) == (9, 2)


def test_arrival_seen_by_two_watchers_gets_one_receipt(ledger: Ledger) -> None:
    fill(ledger, 99)
    start = Barrier(4)

    def see(_: int) -> bool:
        start.wait(10)
        with ledger.transaction() as session:
            return receive(session, arrival(1, key="one file")) != [None]

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(see, range(4))) == 1
    assert assert_consistent(ledger).received == 2


def test_group_is_recorded_entirely_or_not_at_all(ledger: Ledger) -> None:
    def break_off(session: Session) -> None:
        receive(session, arrival(1), arrival(2))
        raise InterruptedError

    with pytest.raises(InterruptedError), ledger.transaction() as session:
        break_off(session)
    with ledger.reading() as session:
        for table in (Image, Receipt, Run):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert_consistent(ledger)
