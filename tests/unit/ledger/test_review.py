from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.filling import AT, assert_consistent, fill, image, known_reader, later, score
from worker.ledger import reading_queue, review
from worker.ledger.reading_queue import Cursor, QueueFilter
from worker.ledger.review import Action, Finding, ReviewRefused
from worker.ledger.session import Ledger
from worker.ledger.states import ReviewState
from worker.ledger.tables import Review

EVERYTHING = QueueFilter(verdicts=(), review=None)


def scored(ledger: Ledger, *scores: float) -> list[int]:
    ids = fill(ledger, *range(len(scores)))
    for image_id, p_pneumonia in zip(ids, scores, strict=True):
        score(ledger, [image_id], p_pneumonia=p_pneumonia)
    return ids


def decide(ledger: Ledger, image_id: int, reader: int, action: Action = Action.CONFIRM) -> Review:
    with ledger.transaction() as session:
        return review.decide(session, image_id, reader_id=reader, action=action, note="seen", at=AT)


def undo(ledger: Ledger, reader: int) -> int:
    with ledger.transaction() as session:
        return review.undo(session, reader_id=reader, at=AT)


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


def test_decide_rejects_undo(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada = known_reader(ledger)
    with pytest.raises(ValueError, match="undo"), ledger.transaction() as session:
        review.decide(session, only, reader_id=ada, action=Action.UNDO, note="", at=AT)


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


@pytest.mark.parametrize(
    ("score_given", "action", "finding"),
    [
        (0.9, Action.CONFIRM, Finding.SIGNS),
        (0.9, Action.OVERRIDE, Finding.NO_SIGNS),
        (0.5, Action.CONFIRM, Finding.SIGNS),
        (0.1, Action.CONFIRM, Finding.NO_SIGNS),
        (0.1, Action.OVERRIDE, Finding.SIGNS),
    ],
)
def test_reading_records_the_finding(
    ledger: Ledger, score_given: float, action: Action, finding: Finding
) -> None:
    (only,) = scored(ledger, score_given)
    act = decide(ledger, only, known_reader(ledger), action)
    assert (act.finding, act.action, act.note) == (finding, action, "seen")
    assert image(ledger, only).review_state == ReviewState.READ
    assert in_queue(ledger, QueueFilter(verdicts=())) == []
    assert_consistent(ledger)


def test_image_is_read_once(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    decide(ledger, only, known_reader(ledger, "Ada"))
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
            assert [(r.action, r.undoes_id) for r in opened.reviews] == [("confirm", None), ("undo", act.id)]
            assert review.standing_reviews(session, [opened]) == {}
    again = decide(ledger, ids[0], reader, Action.OVERRIDE)
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
    stands = [decide(ledger, ids[0], ben), decide(ledger, ids[2], ada, Action.OVERRIDE)]
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


@pytest.mark.parametrize("text", ["", "0.5", "a_b", "0.5_x", "1_2_3"])
def test_malformed_cursor_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Cursor.parse(text)


@pytest.mark.parametrize("p_pneumonia", [0.0, 1.0, 1 / 3, 0.1 + 0.2, 5e-324])
def test_cursor_keeps_every_bit_of_the_score(p_pneumonia: float) -> None:
    assert Cursor.parse(str(Cursor(p_pneumonia, 7))) == Cursor(p_pneumonia, 7)
