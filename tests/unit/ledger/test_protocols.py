"""Reading protocols: two readers and an adjudicator, drawn images, and what the lists tell."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import select

from tests.filling import (
    AT,
    arrival,
    assert_consistent,
    counted,
    drawn,
    fill,
    follow,
    image,
    known_reader,
    receive,
    score,
)
from worker.ledger import protocols, reading_queue, review
from worker.ledger.findings import Finding, NotJudged, Stage, Statement
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.queue_filter import QueueFilter
from worker.ledger.queue_order import Cursor
from worker.ledger.review import ReviewRefused
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Image, Review

SIGNS, NO_SIGNS = Statement(Finding.SIGNS), Statement(Finding.NO_SIGNS)
SECOND_OPINION = Statement(Finding.SECOND_OPINION)
TWO_READERS = Protocol(readers=2, sample_share=0)


def decide(
    ledger: Ledger, image_id: int, name: str, said: Statement = SIGNS, *, adjudicates: bool = False
) -> Review:
    reader_id = known_reader(ledger, name)
    with ledger.transaction() as session:
        return review.decide(
            session, image_id, reader_id=reader_id, statement=said, at=AT, adjudicates=adjudicates
        )


def undo(ledger: Ledger, name: str) -> None:
    reader_id = known_reader(ledger, name)
    with ledger.transaction() as session:
        review.undo(session, reader_id=reader_id, at=AT)


def state(ledger: Ledger, image_id: int) -> str | None:
    return image(ledger, image_id).review_state


def listed(ledger: Ledger, wanted: QueueFilter) -> list[int]:
    with ledger.reading() as session:
        page = reading_queue.queue(session, wanted)
        assert page.total == len(page.images)
        return [row.id for row in page.images]


@pytest.fixture
def only(ledger: Ledger) -> int:
    (image_id,) = fill(ledger, 1)
    score(ledger, [image_id])
    return image_id


def test_default_protocol_holds_until_a_person_changes_it(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert protocols.in_force(session) == protocols.InForce(Protocol())
    blind = Protocol(Shown.AFTER_DECISION, Shown.AFTER_DECISION, 2, 0.1)
    follow(ledger, blind, why="we begin the study")
    with ledger.transaction() as session:
        assert protocols.in_force(session) == protocols.InForce(blind, 1)
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "protocol_set")).one()
        said = json.loads(event.payload)
        assert (said["readers"], said["readers_before"]) == (2, 1)
        assert "study" not in event.payload
        with pytest.raises(ValueError, match="already in force"):
            protocols.change(session, blind, who="user:1", why="again", at=AT)
        with pytest.raises(ValueError, match="needs a reason"):
            protocols.change(session, Protocol(), who="user:1", why=" ", at=AT)
        assert [row.why for row, _ in protocols.history(session, limit=9)] == ["we begin the study"]
    assert_consistent(ledger)


@pytest.mark.parametrize("wrong", [{"readers": 3}, {"sample_share": 1.5}, {"sample_share": float("nan")}])
def test_protocol_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"reader|share"):
        replace(Protocol(), **wrong)  # type: ignore[arg-type]


def test_second_reader_who_agrees_ends_the_reading(ledger: Ledger, only: int) -> None:
    follow(ledger, TWO_READERS)
    first = decide(ledger, only, "Ada")
    assert state(ledger, only) == ReviewState.READ_ONCE
    assert (first.stage, first.leads_to, first.protocol_id) == (Stage.FIRST, ReviewState.READ_ONCE, 1)
    with pytest.raises(ReviewRefused, match="already read"):
        decide(ledger, only, "Ada")
    second = decide(ledger, only, "Ben")
    assert (second.stage, second.supersedes_id) == (Stage.SECOND, first.id)
    assert state(ledger, only) == ReviewState.READ
    assert_consistent(ledger)


@pytest.mark.parametrize(
    "said", [NO_SIGNS, Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE), SECOND_OPINION]
)
def test_disagreement_goes_to_an_adjudicator_who_has_not_read(
    ledger: Ledger, only: int, said: Statement
) -> None:
    follow(ledger, TWO_READERS)
    decide(ledger, only, "Ada")
    decide(ledger, only, "Ben", said)
    assert state(ledger, only) == ReviewState.DISAGREED
    with pytest.raises(ReviewRefused, match="An adjudicator decides"):
        decide(ledger, only, "Chen")
    for name in ("Ada", "Ben"):
        with pytest.raises(ReviewRefused, match="already read"):
            decide(ledger, only, name, adjudicates=True)
    with pytest.raises(ReviewRefused, match="no further opinion"):
        decide(ledger, only, "Chen", SECOND_OPINION, adjudicates=True)
    last = decide(ledger, only, "Chen", NO_SIGNS, adjudicates=True)
    assert last.stage == Stage.ADJUDICATION
    assert state(ledger, only) == ReviewState.READ
    assert_consistent(ledger)


def test_each_undo_leads_back_to_the_state_before(ledger: Ledger, only: int) -> None:
    follow(ledger, TWO_READERS)
    states = [state(ledger, only)]
    for name, said in (("Ada", SIGNS), ("Ben", NO_SIGNS), ("Chen", SIGNS)):
        decide(ledger, only, name, said, adjudicates=True)
        states.append(state(ledger, only))
    assert states == [
        ReviewState.UNREAD, ReviewState.READ_ONCE, ReviewState.DISAGREED, ReviewState.READ
    ]  # fmt: skip
    for name in ("Chen", "Ben", "Ada"):
        assert state(ledger, only) == states.pop()
        undo(ledger, name)
        assert_consistent(ledger)
    assert state(ledger, only) == ReviewState.UNREAD


def test_changed_second_reading_is_compared_with_the_first(ledger: Ledger, only: int) -> None:
    follow(ledger, TWO_READERS)
    decide(ledger, only, "Ada")
    second = decide(ledger, only, "Ben", NO_SIGNS)
    with ledger.transaction() as session:
        review.amend(
            session, second.id, reader_id=second.user_id, statement=SIGNS, why="pressed the wrong key", at=AT
        )
    assert state(ledger, only) == ReviewState.READ
    assert_consistent(ledger)


def test_reading_keeps_the_protocol_that_it_followed(ledger: Ledger, only: int) -> None:
    follow(ledger, TWO_READERS)
    first = decide(ledger, only, "Ada")
    follow(ledger, Protocol(sample_share=0))
    with ledger.transaction() as session:
        changed = review.amend(
            session, first.id, reader_id=first.user_id, statement=NO_SIGNS, why="looked again", at=AT
        )
        assert changed.protocol_id == 1
    assert state(ledger, only) == ReviewState.READ_ONCE
    assert decide(ledger, only, "Ben", NO_SIGNS).protocol_id == 2
    assert state(ledger, only) == ReviewState.READ


def test_reader_is_not_given_their_own_image_again(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    score(ledger, ids)
    follow(ledger, TWO_READERS)
    decide(ledger, ids[0], "Ada")
    decide(ledger, ids[1], "Ben")
    wanted = QueueFilter(review=ReviewState.READ_ONCE)
    assert listed(ledger, wanted) == ids
    for name, expected in (("Ada", ids[1]), ("Ben", ids[0])):
        with ledger.reading() as session:
            reader_id = known_reader(ledger, name)
            found = reading_queue.next_unread(session, wanted, after=None, reader_id=reader_id, at=AT)
        assert found == expected


def test_images_are_drawn_at_the_share_of_the_protocol_and_paired(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0.3))
    ids, random = fill(ledger, *range(320)), Random(7)
    for start in range(0, 300, 20):
        score(ledger, ids[start : start + 15], p_pneumonia=0.1, random=random)
        score(ledger, ids[start + 15 : start + 20], p_pneumonia=0.9, random=random)
    score(ledger, ids[300:], random=random)
    with ledger.reading() as session:
        rows = session.scalars(select(Image).where(Image.review_state == ReviewState.DRAWN)).all()
    clear = [row for row in rows if row.verdict == "clear"]
    # Five standard deviations around the mean of 225 images.
    assert 33 <= len(clear) <= 102
    assert len(rows) - len(clear) == len(clear)
    ranks = [row.drawn_rank for row in rows]
    assert all(rank is not None and 0 <= rank < 1 for rank in ranks)
    assert len(set(ranks)) == len(ranks)
    assert counted(ledger).unread == 95 + len(clear)
    assert_consistent(ledger)


def test_canary_is_never_drawn(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=1))
    with ledger.transaction() as session:
        (canary,) = receive(session, arrival(1), run=CANARY_RUN)
    assert canary is not None
    score(ledger, [canary.image_id], p_pneumonia=0.1, random=Random(1))
    assert state(ledger, canary.image_id) == ReviewState.UNREAD


def test_nothing_is_drawn_without_a_share(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    score(ledger, fill(ledger, *range(30)), p_pneumonia=0.1, random=Random(1))
    assert counted(ledger).unread == 0


def test_no_list_tells_what_a_drawn_image_is(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, 4)
    follow(ledger, Protocol(sample_share=1))
    drawn(ledger, clear=ids[0], flagged=ids[1])
    score(ledger, [ids[2]])
    score(ledger, [ids[3]], p_pneumonia=0.1)
    assert sorted(listed(ledger, QueueFilter())) == ids[:3]
    assert sorted(listed(ledger, QueueFilter(verdicts=()))) == ids
    for verdicts, expected in ((("clear",), [ids[3]]), (("flagged",), [ids[2]])):
        assert listed(ledger, QueueFilter(verdicts=verdicts)) == expected
        told = QueueFilter(verdicts=verdicts, blind=False)
        assert len(listed(ledger, told)) == 2
    assert listed(ledger, QueueFilter(scores=(0.0, 1.0))) == [ids[2]]
    decide(ledger, ids[0], "Ada")
    assert listed(ledger, QueueFilter(verdicts=("clear",), review=ReviewState.READ)) == [ids[0]]
    undo(ledger, "Ada")
    assert state(ledger, ids[0]) == ReviewState.DRAWN


@pytest.mark.parametrize(
    ("readers", "findings", "reached"),
    [
        (1, [SECOND_OPINION], ReviewState.SECOND_OPINION),
        (2, [SIGNS], ReviewState.READ_ONCE),
        (2, [SIGNS, NO_SIGNS], ReviewState.DISAGREED),
    ],
)
def test_no_list_tells_what_a_drawn_image_is_while_it_waits_for_another_reader(
    ledger: Ledger, readers: int, findings: list[Statement], reached: ReviewState
) -> None:
    ids = fill(ledger, 1, 2)
    follow(ledger, Protocol(readers=readers, sample_share=1))
    drawn(ledger, clear=ids[0], flagged=ids[1])
    for image_id in ids:
        for name, said in zip(("Ada", "Ben"), findings, strict=False):
            decide(ledger, image_id, name, said)
    assert {state(ledger, image_id) for image_id in ids} == {reached}
    assert sorted(listed(ledger, QueueFilter(review=reached))) == ids
    for wanted in (
        QueueFilter(verdicts=("clear",), review=reached),
        QueueFilter(verdicts=("flagged",), review=reached),
        QueueFilter(verdicts=(), review=reached, scores=(0.0, 0.5)),
        QueueFilter(verdicts=("clear",), review=None),
    ):
        assert listed(ledger, wanted) == []


def test_drawn_images_stand_at_their_random_places(ledger: Ledger) -> None:
    ids = fill(ledger, *range(5))
    follow(ledger, Protocol(sample_share=1))
    drawn(ledger, clear=ids[0], flagged=ids[1])
    for image_id, p in ((ids[2], 0.99), (ids[3], 0.7), (ids[4], 0.65)):
        score(ledger, [image_id], p_pneumonia=p)
    by_place = sorted(ids, key=lambda number: -(image(ledger, number).queue_rank or 0))
    assert listed(ledger, QueueFilter()) == by_place
    with ledger.reading() as session:
        page = reading_queue.queue(session, QueueFilter(), size=2)
        assert page.next == Cursor(image(ledger, by_place[1]).queue_rank or 0, by_place[1])
        following = reading_queue.queue(session, QueueFilter(), after=page.next, size=9)
        assert [row.id for row in following.images] == by_place[2:]
