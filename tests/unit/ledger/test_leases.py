from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from threading import Barrier, Event

import pytest
from sqlalchemy import event

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    assert_consistent,
    fill,
    image,
    known_model,
    later,
    lease_images,
    receive,
    record,
    result,
)
from worker.ledger import leases
from worker.ledger.session import Ledger
from worker.ledger.states import IllegalTransition, ImageState, Lane


def expire(ledger: Ledger, seconds: float) -> int:
    with ledger.transaction() as session:
        return leases.expire(session, lease_s=60, max_attempts=3, at=later(seconds))


def release(ledger: Ledger, ids: list[int], owner: str = "w1") -> None:
    with ledger.transaction() as session:
        leases.release(
            session, ids, owner=owner, code="store_failed", reason="No disk.", max_attempts=3, at=AT
        )


def retry(ledger: Ledger, image_id: int, why: str = "the disk is back") -> Lane:
    with ledger.transaction() as session:
        return leases.retry(session, image_id, who="user:1", why=why, at=AT)


def waiting(ledger: Ledger, *lost_in: Lane, seconds: float = 0) -> list[int]:
    with ledger.reading() as session:
        images = leases.pending_images(
            session, lost_in=lost_in, requeue_after_s=10, at=later(10 + seconds), limit=100
        )
    return [row.id for row in images]


def test_two_owners_never_lease_the_same_image(ledger: Ledger) -> None:
    ids = fill(ledger, *range(6))
    assert lease_images(ledger, ids[:4], owner="w1") == ids[:4]
    assert lease_images(ledger, ids, owner="w2") == ids[4:]
    assert {image(ledger, i).lease_owner for i in ids[:4]} == {"w1"}


def test_concurrent_owners_never_lease_the_same_image(ledger: Ledger) -> None:
    ids = fill(ledger, *range(20))
    start = Barrier(6)

    def ask(number: int) -> list[int]:
        start.wait(10)
        return lease_images(ledger, ids[number:] + ids[:number], owner=f"w{number}")

    with ThreadPoolExecutor(6) as threads:
        taken = [i for part in threads.map(ask, range(6)) for i in part]
    assert sorted(taken) == ids
    assert {image(ledger, i).attempts for i in ids} == {1}


def test_lease_locks_the_chain_before_images_and_tallies(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.extend([statement] if "chain_head" in statement or "image" in statement else [])

    event.listen(ledger.engine, "before_cursor_execute", note)
    lease_images(ledger, ids)
    event.remove(ledger.engine, "before_cursor_execute", note)
    assert "chain_head" in asked[0]
    assert "UPDATE image" in asked[-1]


def test_image_being_marked_as_queued_can_be_leased(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3)
    noted, asked = Event(), Event()

    def note() -> None:
        with ledger.transaction() as session:
            leases.mark_queued(session, ids, AT)
            noted.set()
            asked.wait(1)

    with ThreadPoolExecutor(1) as threads:
        publisher = threads.submit(note)
        noted.wait(10)
        assert lease_images(ledger, ids) == ids, "the message would be lost until the lanes run empty"
        asked.set()
        publisher.result(10)


def test_expired_lease_returns_its_images_and_counts_the_attempt(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids)
    assert expire(ledger, 59) == 0
    assert expire(ledger, 61) == 2
    back = image(ledger, ids[0])
    assert (back.state, back.attempts, back.lease_owner, back.lease_until) == ("pending", 1, None, None)
    assert waiting(ledger) == ids, "the images are in no queue any more"
    assert lease_images(ledger, ids, owner="w2") == ids
    assert image(ledger, ids[0]).attempts == 2
    assert_consistent(ledger)


def test_clock_set_back_an_hour_blocks_no_image(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids[:1], at=later(3600))
    lease_images(ledger, ids[1:], at=later(50))
    with ledger.reading() as session:
        assert leases.any_expired(session, lease_s=60, at=AT)
    assert expire(ledger, 0) == 1
    assert [image(ledger, i).state for i in ids] == ["pending", "leased"], (
        "a few seconds ahead is not an hour"
    )
    assert lease_images(ledger, ids, owner="w2") == ids[:1]
    assert record(ledger, known_model(ledger), [result(ids[0])], owner="w1") == 0
    assert record(ledger, known_model(ledger), [result(ids[0])], owner="w2") == 1
    assert_consistent(ledger)


def test_clock_set_forward_an_hour_costs_one_attempt(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    assert expire(ledger, 3600) == 1
    assert record(ledger, known_model(ledger), [result(ids[0])]) == 0
    assert lease_images(ledger, ids, owner="w2", at=later(3600)) == ids
    assert record(ledger, known_model(ledger), [result(ids[0])], owner="w2") == 1
    assert image(ledger, ids[0]).attempts == 2
    assert_consistent(ledger)


def test_lease_is_equally_long_in_every_time_zone(ledger: Ledger) -> None:
    tokyo, lima = timezone(timedelta(hours=9)), timezone(timedelta(hours=-5))
    lease_images(ledger, fill(ledger, 1), at=AT.astimezone(tokyo))
    for seconds, ran_out in ((59, 0), (61, 1)):
        with ledger.transaction() as session:
            at = later(seconds).astimezone(lima)
            assert leases.expire(session, lease_s=60, max_attempts=3, at=at) == ran_out


def test_image_queued_in_the_future_is_queued_again(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    with ledger.transaction() as session:
        leases.mark_queued(session, ids, later(3600))
    assert waiting(ledger) == [], "its lane was not lost"
    assert waiting(ledger, Lane.OVERNIGHT) == ids


def test_any_expired_does_not_write(ledger: Ledger) -> None:
    lease_images(ledger, fill(ledger, 1))
    with ledger.reading() as session:
        assert not leases.any_expired(session, lease_s=60, at=later(59))
        assert leases.any_expired(session, lease_s=60, at=later(61))


def test_third_failed_attempt_quarantines_with_a_reason(ledger: Ledger) -> None:
    (lost,) = fill(ledger, 1)
    for attempt in (1, 2, 3):
        assert image(ledger, lost).state == ImageState.PENDING
        lease_images(ledger, [lost], at=later(100 * attempt))
        assert expire(ledger, 100 * attempt + 61) == 1
    kept = image(ledger, lost)
    assert (kept.state, kept.reason_code) == (ImageState.QUARANTINED, "lease_expired")
    assert kept.reason is not None
    assert kept.reason.endswith("Tried 3 times.")
    assert lease_images(ledger, [lost]) == [], "a quarantined image is not leased again"
    assert assert_consistent(ledger).quarantined == 1


def test_only_the_owner_can_release_a_lease(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids[:1], owner="w1")
    lease_images(ledger, ids[1:], owner="w2")
    release(ledger, ids, owner="w1")
    assert [image(ledger, i).state for i in ids] == ["pending", "leased"]
    assert_consistent(ledger)


def test_released_image_waits_before_it_is_queued_again(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    release(ledger, ids)
    assert waiting(ledger, Lane.OVERNIGHT, seconds=-1) == []
    assert waiting(ledger, Lane.OVERNIGHT, seconds=1) == ids


def test_hand_back_does_not_count_the_attempt(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    for _ in range(5):
        lease_images(ledger, ids)
        with ledger.transaction() as session:
            leases.hand_back(session, ids[:1], owner="w1", code="store_away", at=AT)
            leases.hand_back(session, ids, owner="another", code="store_away", at=AT)
    assert [(image(ledger, i).state, image(ledger, i).attempts) for i in ids] == [
        ("pending", 0),
        ("leased", 1),
    ]
    assert image(ledger, ids[0]).queued_at == AT, "it waits before it is queued again"
    assert_consistent(ledger)


@pytest.mark.parametrize("code", ["no_time", "stopping"])
def test_image_that_was_not_begun_is_published_again_at_once(ledger: Ledger, code: str) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids)
    with ledger.transaction() as session:
        leases.hand_back(session, ids[:1], owner="w1", code=code, at=AT)
    assert waiting(ledger) == ids[:1]
    assert image(ledger, ids[0]).attempts == 0
    assert_consistent(ledger)


def test_lasting_failure_quarantines_with_its_reason(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    for _ in range(3):
        lease_images(ledger, ids)
        release(ledger, ids)
    kept = image(ledger, ids[0])
    assert (kept.state, kept.reason_code, kept.reason) == (
        "quarantined",
        "store_failed",
        "No disk. Tried 3 times.",
    )


def test_pending_images_are_ordered_by_lane_and_age(ledger: Ledger) -> None:
    slow = fill(ledger, 1, 2, lane=Lane.OVERNIGHT)
    urgent = fill(ledger, 3, 4, lane=Lane.URGENT)
    assert waiting(ledger) == urgent + slow


def test_image_is_queued_again_only_if_its_lane_was_lost(ledger: Ledger) -> None:
    slow = fill(ledger, 1, lane=Lane.OVERNIGHT)
    urgent = fill(ledger, 2, lane=Lane.URGENT)
    with ledger.transaction() as session:
        leases.mark_queued(session, slow + urgent, AT)
    assert waiting(ledger, seconds=100) == []
    assert waiting(ledger, Lane.URGENT, seconds=100) == urgent
    assert waiting(ledger, Lane.OVERNIGHT, seconds=100) == slow
    assert waiting(ledger, *Lane, seconds=-1) == [], "it has just been queued"


def test_only_pending_images_are_marked_as_queued(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids[:1])
    with ledger.transaction() as session:
        leases.mark_queued(session, ids, AT)
    assert [image(ledger, i).queued_at for i in ids] == [None, AT]


def test_retry_puts_a_rejected_image_back_to_pending(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        (turned_away,) = receive(session, arrival(1, rejection=NOT_AN_IMAGE), lane=Lane.URGENT)
    assert turned_away is not None
    assert retry(ledger, turned_away.image_id) is Lane.URGENT
    kept = image(ledger, turned_away.image_id)
    assert (kept.state, kept.attempts, kept.reason_code, kept.reason) == ("pending", 0, None, None)
    assert kept.retry_reason == "the disk is back"
    assert waiting(ledger) == [turned_away.image_id]
    assert_consistent(ledger)


def test_retry_of_a_quarantined_image_resets_its_attempts(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    for _ in range(3):
        lease_images(ledger, ids)
        release(ledger, ids)
    retry(ledger, ids[0])
    lease_images(ledger, ids)
    release(ledger, ids)
    assert image(ledger, ids[0]).state == ImageState.PENDING


@pytest.mark.parametrize("state", ["pending", "leased", "scored"])
def test_images_in_other_states_cannot_be_retried(ledger: Ledger, state: str) -> None:
    ids = fill(ledger, 1)
    if state != "pending":
        lease_images(ledger, ids)
    if state == "scored":
        record(ledger, known_model(ledger), [result(ids[0])])
    with pytest.raises(IllegalTransition, match="Only rejected and quarantined images"):
        retry(ledger, ids[0])
    assert image(ledger, ids[0]).state == state


def test_retry_needs_a_reason_and_an_existing_image(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        (turned_away,) = receive(session, arrival(1, rejection=NOT_AN_IMAGE))
    assert turned_away is not None
    with pytest.raises(ValueError, match="needs a reason"):
        retry(ledger, turned_away.image_id, why="  \n")
    with pytest.raises(LookupError, match="no image 99"):
        retry(ledger, 99)
