"""The lists of the reading queue: each order and filter, their pages, and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    fill,
    identity,
    image,
    known_reader,
    later,
    lease_images,
    receive,
    score,
)
from tests.ledgers import current_ledger
from worker.config import Settings
from worker.ledger import queue_search, reading_queue, review
from worker.ledger.findings import Finding, Statement
from worker.ledger.queue_filter import WAITING, WITHOUT_SCORE, QueueFilter
from worker.ledger.queue_order import Cursor, Order, Part, Place
from worker.ledger.session import Ledger
from worker.ledger.states import NEEDS_READING, ImageState, ReviewState, Source
from worker.ledger.tables import Image, Receipt

EVERYTHING = QueueFilter(verdicts=(), review=None, states=(ImageState.SCORED, *WITHOUT_SCORE))
SCORED = QueueFilter(verdicts=(), review=None)
# The threshold of the model of `tests.filling`.
THRESHOLD = 0.5
# Thirds have no exact binary representation; small scores have equal distances to the threshold in floats.
SCORES = [0.0, 5e-324, 1e-300, 1e-17, 0.1, 1 / 3, 0.4, 0.5, 0.5 + 2**-53, 0.6, 2 / 3, 0.9, 1 - 2**-53, 1.0]


def scored(ledger: Ledger, *scores: float) -> list[int]:
    ids = fill(ledger, *range(len(scores)))
    for value in set(scores):
        score(ledger, [i for i, own in zip(ids, scores, strict=True) if own == value], p_pneumonia=value)
    return ids


def arrive_at(ledger: Ledger, times: dict[int, datetime]) -> None:
    with ledger.transaction() as session:
        for image_id, at in times.items():
            session.execute(update(Image).where(Image.id == image_id).values(received_at=at))


def read(ledger: Ledger, image_id: int, reader: int) -> None:
    with ledger.transaction() as session:
        review.decide(session, image_id, reader_id=reader, statement=Statement(Finding.SIGNS), at=AT)


def pages(ledger: Ledger, wanted: QueueFilter, size: int = 50) -> list[reading_queue.QueuePage]:
    """Return all pages from the first one on."""
    found: list[reading_queue.QueuePage] = []
    after = None
    while not found or after:
        with ledger.reading() as session:
            found.append(reading_queue.queue(session, wanted, after=after, size=size))
        after = found[-1].next and Cursor.parse(str(found[-1].next))
        assert len(found) < 200, "paging does not end"
    return found


def backwards(ledger: Ledger, wanted: QueueFilter, size: int) -> list[int]:
    """Return the ids of all pages, walked from the last one to the first."""
    last = pages(ledger, wanted, size)[-1]
    ids = [row.id for row in last.images]
    before = last.previous
    while before:
        with ledger.reading() as session:
            page = reading_queue.queue(session, wanted, before=Cursor.parse(str(before)), size=size)
        ids = [*(row.id for row in page.images), *ids]
        before = page.previous
    return ids


def ids_of(found: Sequence[reading_queue.QueuePage]) -> list[int]:
    return [row.id for page in found for row in page.images]


def listed(ledger: Ledger, wanted: QueueFilter) -> list[int]:
    return ids_of(pages(ledger, wanted))


def test_closest_scores_come_first(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.45, 0.55, 0.1, 0.5, 0.625, 0.375)
    order = [ids[n] for n in (4, 1, 2, 5, 6, 0, 3)]
    by_distance = sorted(ids, key=lambda i: abs((image(ledger, i).p_pneumonia or 0) - THRESHOLD))
    assert by_distance[0] == ids[4]
    found = listed(ledger, replace(SCORED, order=Order.CLOSEST))
    assert [found[0], set(found[1:3]), *found[3:]] == [order[0], {ids[1], ids[2]}, ids[5], ids[6], *found[5:]]
    assert set(found[5:]) == {ids[0], ids[3]}


def test_oldest_images_come_first(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.5, 0.7)
    arrive_at(ledger, {ids[0]: later(2), ids[1]: later(1), ids[2]: later(1)})
    assert listed(ledger, replace(SCORED, order=Order.OLDEST)) == [ids[1], ids[2], ids[0]]


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_pages_hold_each_image_once_in_both_directions(ledger: Ledger, order: Order, size: int) -> None:
    ids = scored(ledger, *SCORES, *SCORES[::2])
    arrive_at(ledger, {i: later(i % 5) for i in ids})
    wanted = replace(SCORED, order=order, overdue_from=later(1))
    found = pages(ledger, wanted, size)
    assert sorted(ids_of(found)) == ids
    assert backwards(ledger, wanted, size) == ids_of(found)
    assert [page.first for page in found] == [1 + size * number for number in range(len(found))]
    assert {page.whole for page in found} == {queue_search.Total(len(ids))}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A ledger with equal scores and times, images without a score, and patients of several ages."""
    path = tmp_path_factory.mktemp("queue") / "ledger.sqlite3"
    ledger = current_ledger(Settings(database_url=f"sqlite:///{path}").database)
    with ledger.transaction() as session:
        files = [replace(arrival(n), identity=identity(n, n % 3)) for n in range(24)]
        refused = [arrival(n, rejection=NOT_AN_IMAGE) for n in range(24, 28)]
        rows = receive(session, *files, *refused, arrival(28), arrival(29))
    ids = [row.image_id for row in rows if row]
    for value in SCORES:
        chosen = [i for i in ids[:24] if SCORES[i % len(SCORES)] == value]
        score(ledger, chosen, p_pneumonia=value)
    lease_images(ledger, ids[-1:])
    arrive_at(ledger, {i: later(i * 7 % 5) for i in ids})
    ada = known_reader(ledger)
    for image_id in ids[:24:5]:
        read(ledger, image_id, ada)
    return ledger


FILTERS = st.builds(
    QueueFilter,
    verdicts=st.sampled_from([(), NEEDS_READING, ("clear",)]),
    review=st.sampled_from([None, ReviewState.UNREAD, ReviewState.READ]),
    run=st.sampled_from([None, "1", "2"]),
    states=st.sampled_from([(ImageState.SCORED,), WITHOUT_SCORE, EVERYTHING.states]),
    order=st.sampled_from(Order),
    scores=st.sampled_from([(None, None), (0.4, None), (1 / 3, 0.9), (None, 0.0)]),
    source=st.sampled_from([None, "folder", "upload"]),
    ages=st.sampled_from([None, (1, 6), (6, 18), (None, None)]),
    sex=st.sampled_from([None, "F", "M", ""]),
    reader=st.sampled_from([None, 1, 2]),
    overdue_from=st.sampled_from([None, AT, later(2), later(9)]),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS, st.integers(1, 9), st.sampled_from([3, 2_000]))
def test_walking_all_pages_of_any_list_gives_each_image_once(
    many: Ledger, wanted: QueueFilter, size: int, searched: int
) -> None:
    whole = ids_of(pages(many, wanted, 50))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(queue_search, "SEARCHED", searched)
        found = pages(many, wanted, size)
        assert ids_of(found) == whole
        back = backwards(many, wanted, size)
    # The first page is whole, so it can repeat images of the second one if the search ended a page early.
    assert list(dict.fromkeys(back)) == whole
    assert back[size:] == whole[len(whole) - len(back) + size :]
    assert searched == 3 or back == whole
    assert len(set(whole)) == len(whole)
    assert set(whole) == {row for row in _rows(many) if _matches(_rows(many)[row], wanted)}
    assert all(page.total <= max(len(whole), 1) for page in found)
    exact = [page for page in found if page.whole.exact]
    assert {page.total for page in exact} <= {len(whole)}


@cache
def _rows(ledger: Ledger) -> dict[int, Image]:
    """Return the thirty images of `many` by their ids, read once."""
    return {image_id: image(ledger, image_id) for image_id in range(1, 31)}


def _matches(row: Image, wanted: QueueFilter) -> bool:
    """Say the filter again, in Python."""
    is_scored = row.state == ImageState.SCORED
    review_state = row.review_state or ReviewState.UNREAD
    low, high = wanted.scores
    p = row.p_pneumonia
    has_identity = row.id <= 24
    checks = [
        row.state in wanted.states,
        wanted.review in {None, review_state},
        not is_scored or not wanted.verdicts or row.verdict in wanted.verdicts,
        wanted.run in {None, "1"},
        wanted.scores == (None, None) or p is not None,
        low is None or (p is not None and p >= low),
        high is None or (p is not None and p <= high),
        wanted.source in {None, "folder"},
        wanted.ages in {None, (1, 6)} if has_identity else wanted.ages in {None, (None, None)},
        wanted.sex in {None, "F"} if has_identity else wanted.sex in {None, ""},
        wanted.reader is None or (wanted.reader == 1 and review_state == ReviewState.READ),
    ]
    return all(checks)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (QueueFilter(ages=(1, 6)), [1]),
        (QueueFilter(ages=(6, 18)), []),
        (QueueFilter(ages=(None, None)), [2]),
        (QueueFilter(sex="F"), [1]),
        (QueueFilter(sex=""), [2]),
        (QueueFilter(view="PA"), [1]),
        (QueueFilter(view="AP"), []),
        (QueueFilter(source="folder"), [1, 2]),
        (QueueFilter(source="upload"), []),
        (QueueFilter(scores=(0.8, None)), [1]),
        (QueueFilter(scores=(None, 0.8)), [2]),
        (QueueFilter(review=None, reader=1), [3]),
        (QueueFilter(review=None, reader=2), []),
        (QueueFilter(states=(ImageState.REJECTED,)), [4]),
        (QueueFilter(states=WITHOUT_SCORE, reason="not_an_image"), [4]),
        (QueueFilter(states=WITHOUT_SCORE, reason="blank"), []),
        (QueueFilter(states=WAITING), [5]),
        (QueueFilter(states=(ImageState.QUARANTINED,)), []),
        (QueueFilter(states=WITHOUT_SCORE, review=ReviewState.READ), []),
        (QueueFilter(states=EVERYTHING.states), [1, 2, 4, 5]),
    ],
)
def test_each_filter_chooses_its_images(ledger: Ledger, wanted: QueueFilter, numbers: list[int]) -> None:
    with ledger.transaction() as session:
        receive(session, replace(arrival(1), identity=identity(1)), arrival(2), arrival(3))
        receive(session, arrival(4, rejection=NOT_AN_IMAGE), arrival(5))
    score(ledger, [1, 3], p_pneumonia=0.9)
    score(ledger, [2], p_pneumonia=0.7)
    read(ledger, 3, known_reader(ledger))
    assert listed(ledger, wanted) == numbers
    with ledger.reading() as session:
        assert reading_queue.count(session, wanted) == len(numbers)


def test_reading_that_was_taken_back_does_not_count_as_read_by(ledger: Ledger) -> None:
    (only,) = scored(ledger, 0.9)
    ada, ben = known_reader(ledger, "Ada"), known_reader(ledger, "Ben")
    read(ledger, only, ada)
    with ledger.transaction() as session:
        review.undo(session, reader_id=ada, at=AT)
    read(ledger, only, ben)
    assert listed(ledger, QueueFilter(review=None, reader=ada)) == []
    assert listed(ledger, QueueFilter(review=None, reader=ben)) == [only]


def test_overdue_case_comes_first_and_is_the_next_image(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.7, 0.65, 0.1)
    arrive_at(ledger, {ids[0]: later(9), ids[1]: later(9), ids[2]: later(1), ids[3]: later(1)})
    ada = known_reader(ledger)
    wanted = replace(QueueFilter(), verdicts=(), overdue_from=later(5))
    assert listed(ledger, wanted) == [ids[2], ids[0], ids[1], ids[3]], "a clear image has no time limit"
    read(ledger, ids[0], ada)
    with ledger.reading() as session:
        place = Place.of(session.get_one(Image, ids[0]))
        following = reading_queue.next_unread(session, wanted, after=place, reader_id=ada, at=AT)
        beside = reading_queue.neighbours(session, wanted, Place.of(session.get_one(Image, ids[1])))
    assert following == ids[2]
    assert (beside.before, beside.after) == (ids[2], ids[3])


@pytest.mark.parametrize("order", Order)
def test_next_image_and_neighbours_follow_the_order(ledger: Ledger, order: Order) -> None:
    ids = scored(ledger, 0.9, 0.45, 0.62, 0.45, 0.7)
    arrive_at(ledger, {i: later(-i) for i in ids})
    wanted, ada = replace(SCORED, order=order), known_reader(ledger)
    found = listed(ledger, wanted)
    with ledger.reading() as session:
        places = [Place.of(session.get_one(Image, i)) for i in found]
        following = [
            reading_queue.next_unread(session, wanted, after=place, reader_id=ada, at=AT) for place in places
        ]
        beside = [reading_queue.neighbours(session, wanted, place) for place in places]
    assert following == [*found[1:], found[0]]
    assert [pair.before for pair in beside] == [None, *found[:-1]]
    assert [pair.after for pair in beside] == [*found[1:], None]


def test_page_stops_where_a_rare_kind_is_searched(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_search, "SEARCHED", 2)
    monkeypatch.setattr(reading_queue, "SEARCHED", 2)
    with ledger.transaction() as session:
        receive(session, arrival(1), arrival(2), arrival(3), replace(arrival(4), identity=identity(4)))
    score(ledger, [1, 2, 3, 4])
    found = pages(ledger, QueueFilter(sex="F"))
    assert [[row.id for row in page.images] for page in found] == [[], [4], []]
    assert [page.searched for page in found] == [2, 2, None]
    assert [page.first for page in found] == [None, None, None]
    with ledger.reading() as session:
        wanted = replace(QueueFilter(sex="F"))
        assert reading_queue.next_unread(session, wanted, after=None, reader_id=1, at=AT) == 4


def test_positions_far_down_are_not_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_search, "COUNTED", 3)
    scored(ledger, *[0.9] * 6)
    assert [page.first for page in pages(ledger, QueueFilter(), 2)] == [1, 3, None]
    assert pages(ledger, QueueFilter(scores=(0.1, None)), 2)[0].whole == queue_search.Total(3, exact=False)


def test_page_before_the_second_one_is_the_whole_first_one(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9, 0.8, 0.7)
    with ledger.reading() as session:
        page = reading_queue.queue(session, QueueFilter(), before=Cursor(0.8, ids[1]), size=2)
    assert [row.id for row in page.images] == ids[:2]
    assert (page.previous, page.next, page.first) == (None, Cursor(0.8, ids[1]), 1)


@pytest.mark.parametrize("part", Part)
def test_cursor_names_its_part(part: Part) -> None:
    assert Cursor.parse(str(Cursor(1.7e15, 3, part))) == Cursor(1.7e15, 3, part)


def test_page_before_an_empty_one_ends_where_its_search_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search of the page before it stopped at an image that belongs to the list; this image was left out."""
    monkeypatch.setattr(queue_search, "SEARCHED", 2)
    ids = fill(ledger, *range(4))
    wanted = QueueFilter(states=WAITING, sex="")
    found = pages(ledger, wanted, 3)
    assert [[row.id for row in page.images] for page in found] == [ids[:2], ids[2:], []]
    with ledger.reading() as session:
        page = reading_queue.queue(session, wanted, before=found[-1].previous, size=3)
    assert [row.id for row in page.images] == ids[2:]


def test_page_after_an_empty_one_begins_where_its_search_began(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_search, "SEARCHED", 2)
    ids = fill(ledger, *range(6))
    with ledger.transaction() as session:
        session.execute(update(Receipt).where(Receipt.image_id.in_(ids[4:])).values(source=Source.UPLOAD))
    wanted = QueueFilter(states=WAITING, source=Source.UPLOAD)
    last = pages(ledger, wanted, 3)[-2]
    assert [row.id for row in last.images] == ids[4:]
    with ledger.reading() as session:
        empty = reading_queue.queue(session, wanted, before=last.previous, size=3)
        assert empty.images == []
        again = reading_queue.queue(session, wanted, after=empty.next, size=3)
    assert [row.id for row in again.images] == ids[4:]
