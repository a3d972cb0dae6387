from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    assert_consistent,
    fill,
    image,
    known_model,
    known_reader,
    later,
    lease_images,
    receive,
    record,
    score,
)
from worker.ledger import actors, leases, reading_queue, review
from worker.ledger.findings import Action, Finding, NotJudged, Seen, Statement
from worker.ledger.predictions import RejectionRecord
from worker.ledger.reading_queue import Cursor, QueueFilter
from worker.ledger.review import ReviewRefused
from worker.ledger.session import Ledger
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Review

EVERYTHING = QueueFilter(verdicts=(), review=None)


def scored(ledger: Ledger, *scores: float) -> list[int]:
    ids = fill(ledger, *range(len(scores)))
    for image_id, p_pneumonia in zip(ids, scores, strict=True):
        score(ledger, [image_id], p_pneumonia=p_pneumonia)
    return ids


def decide(ledger: Ledger, image_id: int, reader: int, finding: Finding = Finding.SIGNS) -> Review:
    with ledger.transaction() as session:
        return review.decide(session, image_id, reader_id=reader, statement=Statement(finding), at=AT)


def amend(ledger: Ledger, reading: int, reader: int, finding: Finding, why: str = "looked again") -> Review:
    with ledger.transaction() as session:
        return review.amend(
            session, reading, reader_id=reader, statement=Statement(finding), why=why, at=later(60)
        )


def undo(ledger: Ledger, reader: int, reading: int | None = None) -> int:
    with ledger.transaction() as session:
        return review.undo(session, reader_id=reader, at=AT, review_id=reading).image_id


def in_force(ledger: Ledger, image_id: int) -> tuple[int, str] | None:
    """Return id and finding of the reading in force."""
    with ledger.reading() as session:
        opened = reading_queue.open_image(session, image_id)
        assert opened is not None
        reading = review.standing_reviews(session, [opened]).get(image_id)
        return (reading.id, reading.finding or "") if reading else None


def claim(ledger: Ledger, image_id: int, reader: int, seconds: float = 0) -> bool:
    with ledger.transaction() as session:
        return review.claim(session, image_id, reader_id=reader, claim_s=900, at=later(seconds))


def in_queue(ledger: Ledger, wanted: QueueFilter, *, size: int = 50) -> list[int]:
    """Return the ids of all pages in order."""
    ids: list[int] = []
    after = None
    while True:
        with ledger.reading() as session:
            page = reading_queue.queue(session, wanted, after=after, size=size)
        ids += [row.id for row in page.images]
        assert len(ids) <= page.total, "paging does not end"
        if page.next is None:
            assert len(ids) == page.total
            return ids
        after = Cursor.parse(str(page.next))


def test_queue_is_ordered_by_score_then_age(ledger: Ledger) -> None:
    ids = scored(ledger, 0.5, 0.9, 0.7, 0.9, 0.1)
    assert in_queue(ledger, QueueFilter()) == [ids[1], ids[3], ids[2], ids[0]]
    assert in_queue(ledger, QueueFilter(verdicts=("clear",))) == [ids[4]]
    assert in_queue(ledger, QueueFilter(verdicts=("uncertain",))) == [ids[0]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_pages_cover_every_image_exactly_once(ledger: Ledger, size: int) -> None:
    # Thirds have no exact binary representation, and many scores are equal.
    ids = scored(ledger, *(number % 5 / 3 / 2 for number in range(14)))
    listed = in_queue(ledger, EVERYTHING, size=size)
    assert sorted(listed) == ids
    assert listed == sorted(ids, key=lambda i: (-(image(ledger, i).p_pneumonia or 0), i))


def test_queue_of_a_run_holds_only_its_images(ledger: Ledger) -> None:
    first, second = fill(ledger, 1, run="one"), fill(ledger, 2, run="two")
    score(ledger, first + second)
    assert in_queue(ledger, QueueFilter(run="2")) == second
    assert in_queue(ledger, QueueFilter(run="3")) == []


def test_claimed_image_cannot_be_claimed_or_read_by_others(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    assert claim(ledger, only, ada)
    assert claim(ledger, only, ada, seconds=10), "a reader can claim the same image again"
    assert not claim(ledger, only, ben, seconds=20)
    with pytest.raises(ReviewRefused, match="Another reader"):
        decide(ledger, only, ben)
    assert claim(ledger, only, ben, seconds=911), "a claim ends"


def test_only_one_of_concurrent_claims_succeeds(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    readers = [known_reader(ledger, f"Reader {number}") for number in range(5)]
    with ThreadPoolExecutor(5) as threads:
        assert sum(threads.map(lambda reader: claim(ledger, only, reader), readers)) == 1


def test_claim_releases_the_readers_previous_claim(ledger: Ledger) -> None:
    first, second = scored(ledger, 0.9, 0.8)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    assert claim(ledger, first, ada)
    assert claim(ledger, second, ada)
    assert claim(ledger, first, ben, seconds=1)
    assert not claim(ledger, second, ben, seconds=1)


@pytest.mark.parametrize(
    ("finding", "reason"), [(Finding.NOT_JUDGED, None), (Finding.SIGNS, NotJudged.WRONG_VIEW)]
)
def test_only_an_image_that_cannot_be_judged_has_a_reason(finding: Finding, reason: NotJudged | None) -> None:
    with pytest.raises(ValueError, match="technically_inadequate, wrong_view, not_a_chest"):
        Statement(finding, reason)


def test_next_unread_skips_claimed_images_and_wraps_around(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8, 0.7)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    claim(ledger, ids[1], ben)

    def following(after: Cursor | None) -> int | None:
        with ledger.reading() as session:
            return reading_queue.next_unread(session, QueueFilter(), after=after, reader_id=ada, at=AT)

    assert following(None) == ids[0]
    assert following(Cursor(0.9, ids[0])) == ids[2]
    assert following(Cursor(0.7, ids[2])) == ids[0]
    for image_id in (ids[0], ids[2]):
        decide(ledger, image_id, ada)
    assert following(Cursor(0.7, ids[2])) is None


def test_neighbours_follow_the_order_of_the_queue(ledger: Ledger) -> None:
    ids = scored(ledger, 0.7, 0.9, 0.7)
    with ledger.reading() as session:
        here = reading_queue.neighbours(session, QueueFilter(), Cursor(0.7, ids[0]))
        first = reading_queue.neighbours(session, QueueFilter(), Cursor(0.9, ids[1]))
    assert (here.before, here.after) == (ids[1], ids[2])
    assert (first.before, first.after) == (None, ids[0])


@pytest.mark.parametrize("score_given", [0.9, 0.5, 0.1])
@pytest.mark.parametrize(
    "statement",
    [
        Statement(Finding.SIGNS, note="left base", other_finding="old fracture"),
        Statement(Finding.NO_SIGNS),
        *(Statement(Finding.NOT_JUDGED, reason) for reason in NotJudged),
    ],
)
def test_finding_means_the_same_whatever_the_score(
    ledger: Ledger, score_given: float, statement: Statement
) -> None:
    (only,) = scored(ledger, score_given)
    seen = Seen(prediction_id=1, score_shown=True, map_shown=False, open_ms=4_321)
    with ledger.transaction() as session:
        reading = review.decide(
            session, only, reader_id=known_reader(ledger), statement=statement, at=AT, seen=seen
        )
    assert reading.action == Action.READ
    assert (reading.finding, reading.reason_code) == (statement.finding, statement.reason)
    assert (reading.note, reading.other_finding) == (statement.note, statement.other_finding)
    assert (reading.score_shown, reading.map_shown, reading.open_ms) == (True, False, 4_321)
    assert image(ledger, only).review_state == ReviewState.READ
    assert in_queue(ledger, QueueFilter(verdicts=())) == []
    assert_consistent(ledger)


def test_image_is_read_once(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada = known_reader(ledger, "Ada")
    decide(ledger, only, ada)
    with pytest.raises(ReviewRefused, match="You can change your reading"):
        decide(ledger, only, ada)
    with pytest.raises(ReviewRefused, match="already been read"):
        decide(ledger, only, known_reader(ledger, "Ben"))
    assert not claim(ledger, only, known_reader(ledger, "Ben"))


def test_only_one_of_concurrent_readings_is_recorded(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    readers = [known_reader(ledger, f"Reader {number}") for number in range(5)]

    def heard(reader: int) -> bool:
        try:
            decide(ledger, only, reader)
        except ReviewRefused:
            return False
        return True

    with ThreadPoolExecutor(5) as threads:
        assert sum(threads.map(heard, readers)) == 1
    with ledger.reading() as session:
        opened = reading_queue.open_image(session, only)
        assert opened is not None
        assert len(opened.reviews) == 1
    assert_consistent(ledger)


def test_image_that_is_not_scored_cannot_be_read(ledger: Ledger) -> None:
    (only,) = fill(ledger, 1)
    reader = known_reader(ledger)
    assert not claim(ledger, only, reader)
    for missing in (only, 99):
        with pytest.raises(ReviewRefused, match="not been scored"):
            decide(ledger, missing, reader)


def test_undo_adds_a_row_and_takes_back_one_reading(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8)
    reader = known_reader(ledger)
    first, second = decide(ledger, ids[0], reader), decide(ledger, ids[1], reader)
    assert undo(ledger, reader) == ids[1]
    assert undo(ledger, reader) == ids[0]
    with pytest.raises(ReviewRefused, match="nothing to undo"):
        undo(ledger, reader)
    assert in_queue(ledger, QueueFilter()) == ids
    with ledger.reading() as session:
        for image_id, act in zip(ids, (first, second), strict=True):
            opened = reading_queue.open_image(session, image_id)
            assert opened is not None
            assert [(r.action, r.undoes_id) for r in opened.reviews] == [("read", None), ("undo", act.id)]
            assert review.standing_reviews(session, [opened]) == {}
    again = decide(ledger, ids[0], reader, Finding.NO_SIGNS)
    with ledger.reading() as session:
        opened = reading_queue.open_image(session, ids[0])
        assert opened is not None
        standing = review.standing_reviews(session, [opened])
        assert {image_id: act.id for image_id, act in standing.items()} == {ids[0]: again.id}
    assert_consistent(ledger)


@pytest.mark.slow
def test_queue_page_loads_only_standing_readings(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8, 0.7)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    for _ in range(20):
        for image_id in ids:
            decide(ledger, image_id, ada)
            undo(ledger, ada)
    stands = [decide(ledger, ids[0], ben), decide(ledger, ids[2], ada, Finding.NO_SIGNS)]
    with ledger.reading() as session:
        page = reading_queue.queue(session, EVERYTHING)
        loaded = [row.id for row in session.identity_map.values() if isinstance(row, Review)]
        assert [row.id for row in page.images] == ids
        assert {act.image_id: (act.id, act.user.name) for act in page.standing.values()} == {
            ids[0]: (stands[0].id, "Ben"),
            ids[2]: (stands[1].id, "Ada"),
        }
    assert sorted(loaded) == [act.id for act in stands]


def test_undo_never_takes_back_another_readers_reading(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    decide(ledger, only, ada)
    with pytest.raises(ReviewRefused, match="nothing to undo"):
        undo(ledger, ben)
    undo(ledger, ada)
    decide(ledger, only, ben)
    with pytest.raises(ReviewRefused, match="nothing to undo"):
        undo(ledger, ada)
    assert image(ledger, only).review_state == ReviewState.READ


def test_undo_takes_back_the_reading_that_it_names(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    first, _ = decide(ledger, ids[0], ada), decide(ledger, ids[1], ada)
    with pytest.raises(ReviewRefused, match="no reading of yours"):
        undo(ledger, ben, first.id)
    assert undo(ledger, ada, first.id) == ids[0]
    with pytest.raises(ReviewRefused, match="already taken this reading back"):
        undo(ledger, ada, first.id)
    assert [image(ledger, i).review_state for i in ids] == [ReviewState.UNREAD, ReviewState.READ]
    assert_consistent(ledger)


def test_change_of_a_reading_keeps_the_earlier_one(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    first = decide(ledger, only, ada)
    with pytest.raises(ValueError, match="needs a reason"):
        amend(ledger, first.id, ada, Finding.NO_SIGNS, why=" ")
    with pytest.raises(ReviewRefused, match="no reading of yours"):
        amend(ledger, first.id, ben, Finding.NO_SIGNS)
    second = amend(ledger, first.id, ada, Finding.NO_SIGNS)
    assert (second.supersedes_id, second.action, second.why) == (first.id, Action.AMEND, "looked again")
    assert in_force(ledger, only) == (second.id, Finding.NO_SIGNS)
    with pytest.raises(ReviewRefused, match="a later one is"):
        amend(ledger, first.id, ada, Finding.SIGNS)
    assert_consistent(ledger)

    assert undo(ledger, ada) == only
    assert in_force(ledger, only) == (first.id, Finding.SIGNS)
    assert_consistent(ledger)
    assert undo(ledger, ada) == only
    assert in_force(ledger, only) is None
    assert image(ledger, only).review_state == ReviewState.UNREAD
    assert_consistent(ledger)


def test_event_of_a_change_says_what_was_before_and_holds_no_words(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada = known_reader(ledger)
    first = decide(ledger, only, ada)
    statement = Statement(Finding.NOT_JUDGED, NotJudged.WRONG_VIEW, "Doe moved", "Doe has a clip")
    with ledger.transaction() as session:
        review.amend(session, first.id, reader_id=ada, statement=statement, why="Doe called", at=AT)
    with ledger.reading() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "read_amended")).one()
    said = json.loads(event.payload)
    assert (event.actor, event.subject) == (f"user:{ada}", f"image:{only}")
    assert (said["finding_before"], said["finding"], said["reason"]) == (
        "signs_of_pneumonia", "cannot_be_judged", "wrong_view"
    )  # fmt: skip
    assert {"score_shown", "map_shown", "open_ms", "why_seal", "note_seal", "other_finding_seal"} <= set(said)
    assert "Doe" not in event.payload


def test_second_opinion_is_given_by_another_reader(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    first = decide(ledger, only, ada, Finding.SECOND_OPINION)
    assert in_queue(ledger, QueueFilter()) == []
    assert in_queue(ledger, QueueFilter(review=ReviewState.SECOND_OPINION)) == [only]
    with pytest.raises(ReviewRefused, match="already read"):
        decide(ledger, only, ada)
    assert claim(ledger, only, ben)
    second = decide(ledger, only, ben, Finding.NO_SIGNS)
    assert second.supersedes_id == first.id
    assert in_force(ledger, only) == (second.id, Finding.NO_SIGNS)
    with pytest.raises(ReviewRefused, match="a later one is"):
        undo(ledger, ada)
    assert_consistent(ledger)
    undo(ledger, ben)
    assert in_force(ledger, only) == (first.id, Finding.SECOND_OPINION)
    assert image(ledger, only).review_state == ReviewState.SECOND_OPINION
    assert_consistent(ledger)


def rejected(ledger: Ledger) -> int:
    """Return an image that the gate rejected."""
    (only,) = fill(ledger, 1)
    lease_images(ledger, [only])
    record(ledger, known_model(ledger), [], [RejectionRecord(only, "not_a_chest", "No chest.")])
    return only


def test_rejected_image_is_read_without_a_score_until_it_is_retried(ledger: Ledger) -> None:
    only, ada = rejected(ledger), known_reader(ledger)
    assert claim(ledger, only, ada)
    reading = decide(ledger, only, ada)
    assert reading.prediction_id is None
    assert (image(ledger, only).state, image(ledger, only).review_state) == ("rejected", ReviewState.READ)
    assert in_queue(ledger, EVERYTHING) == []
    assert_consistent(ledger)
    undo(ledger, ada)
    assert image(ledger, only).review_state is None
    assert_consistent(ledger)
    again = decide(ledger, only, ada)
    with ledger.transaction() as session:
        leases.retry(session, only, who=actors.user(ada), why="other gate", at=AT)
    assert image(ledger, only).review_state is None
    score(ledger, [only])
    assert image(ledger, only).review_state == ReviewState.UNREAD
    with pytest.raises(ReviewRefused, match="scored again"):
        undo(ledger, ada, again.id)
    with pytest.raises(ReviewRefused, match="Look at its new score"), ledger.transaction() as session:
        review.decide(
            session,
            only,
            reader_id=ada,
            statement=Statement(Finding.SIGNS),
            at=AT,
            seen=Seen(prediction_id=0),
        )
    assert_consistent(ledger)


def test_file_without_a_picture_cannot_be_read(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    with ledger.transaction() as session:
        receive(session, replace(arrival(1, rejection=NOT_AN_IMAGE), format=None))
    assert not claim(ledger, 1, ada)
    with pytest.raises(ReviewRefused, match="no picture"):
        decide(ledger, 1, ada)


def test_undoable_is_the_last_reading_in_force(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8)
    ada = known_reader(ledger)

    def next_undo() -> int | None:
        with ledger.reading() as session:
            reading = review.undoable(session, ada)
            return reading.image.id if reading else None

    assert next_undo() is None
    decide(ledger, ids[0], ada)
    decide(ledger, ids[1], ada)
    assert next_undo() == ids[1]
    undo(ledger, ada)
    assert next_undo() == ids[0]


@pytest.mark.parametrize("text", ["", "0.5", "a_b", "0.5_x", "1_2_3"])
def test_malformed_cursor_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Cursor.parse(text)


@pytest.mark.parametrize("p_pneumonia", [0.0, 1.0, 1 / 3, 0.1 + 0.2, 5e-324])
def test_cursor_keeps_every_bit_of_the_score(p_pneumonia: float) -> None:
    assert Cursor.parse(str(Cursor(p_pneumonia, 7))) == Cursor(p_pneumonia, 7)
