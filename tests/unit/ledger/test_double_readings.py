"""Pairs of first and second readings: as they were first made, and what became of disagreements."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, update

from tests.filling import (
    AT,
    arrival,
    assert_consistent,
    fill,
    follow,
    known_model,
    known_reader,
    later,
    lease_images,
    receive,
    record,
    result,
    score,
)
from worker.ledger import double_readings, erasures, rescores, review
from worker.ledger.double_readings import EqualPairs
from worker.ledger.findings import NOT_KNOWN, Finding, NotJudged, Seen, Statement
from worker.ledger.protocols import Protocol
from worker.ledger.rescores import CROPPED
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.tables import Image, Review

SIGNS, NO_SIGNS = Statement(Finding.SIGNS), Statement(Finding.NO_SIGNS)
NOT_JUDGED = Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE)
SECOND_OPINION = Statement(Finding.SECOND_OPINION)
TWO_READERS = Protocol(readers=2, sample_share=0)
ADA, BEN, CHEN = "Ada", "Ben", "Chen"


def two_readers(ledger: Ledger, count: int) -> list[int]:
    """Return the ids of scored images, which two people read."""
    ids = fill(ledger, *range(count))
    score(ledger, ids)
    follow(ledger, TWO_READERS)
    for name in (ADA, BEN, CHEN):
        known_reader(ledger, name)
    return ids


def decide(
    ledger: Ledger, image_id: int, name: str, said: Statement = SIGNS, seen: Seen = NOT_KNOWN
) -> Review:
    reader_id = known_reader(ledger, name)
    with ledger.transaction() as session:
        return review.decide(
            session, image_id, reader_id=reader_id, statement=said, at=AT, seen=seen, adjudicates=name == CHEN
        )


def amend(ledger: Ledger, reading: Review, said: Statement) -> Review:
    with ledger.transaction() as session:
        return review.amend(
            session, reading.id, reader_id=reading.user_id, statement=said, why="looked again", at=later(5)
        )


def undo(ledger: Ledger, reading: Review) -> None:
    with ledger.transaction() as session:
        review.undo(session, reader_id=reading.user_id, review_id=reading.id, at=later(9))


def found(ledger: Ledger, among: int = 1_000) -> list[tuple[str, str, str | None, bool, int]]:
    """Return first and second finding, the adjudicator's one, whether the image waits, and the number of pairs."""
    return [
        (pair.first, pair.second, pair.decided, pair.waits, pair.number)
        for pair in readings(ledger, among).pairs
    ]


def readings(ledger: Ledger, among: int = 1_000) -> double_readings.DoubleReadings:
    with ledger.reading() as session:
        return double_readings.latest_pairs(session, among=among)


def test_equal_pairs_are_counted_by_reader_and_finding(ledger: Ledger) -> None:
    ids = two_readers(ledger, 5)
    for image_id in ids[:3]:
        decide(ledger, image_id, ADA)
        decide(ledger, image_id, BEN)
    decide(ledger, ids[3], BEN, NOT_JUDGED)
    decide(ledger, ids[3], ADA, NO_SIGNS)
    decide(ledger, ids[4], ADA)
    ada, ben = known_reader(ledger, ADA), known_reader(ledger, BEN)
    assert readings(ledger).pairs == [
        EqualPairs(ada, ben, Finding.SIGNS, Finding.SIGNS, None, False, True, 3, AT, AT),
        EqualPairs(ben, ada, Finding.NOT_JUDGED, Finding.NO_SIGNS, None, True, True, 1, AT, AT),
    ]


def test_pair_says_whether_a_score_may_have_been_seen(ledger: Ledger) -> None:
    shown = ((False, False), (False, True), (False, None), (True, False), (None, False))
    for image_id, (first, second) in zip(two_readers(ledger, 5), shown, strict=True):
        decide(ledger, image_id, ADA, seen=Seen(score_shown=first))
        decide(ledger, image_id, BEN, seen=Seen(score_shown=second))
    assert [(pair.score_shown, pair.number) for pair in readings(ledger).pairs] == [(False, 1), (True, 4)]


def test_a_disagreement_waits_until_an_adjudicator_decides(ledger: Ledger) -> None:
    (image_id,) = two_readers(ledger, 1)
    decide(ledger, image_id, ADA)
    decide(ledger, image_id, BEN, SECOND_OPINION)
    assert found(ledger) == [(Finding.SIGNS, Finding.SECOND_OPINION, None, True, 1)]
    decided = decide(ledger, image_id, CHEN, NO_SIGNS)
    assert found(ledger) == [(Finding.SIGNS, Finding.SECOND_OPINION, Finding.NO_SIGNS, False, 1)]
    changed = amend(ledger, decided, SIGNS)
    assert found(ledger) == [(Finding.SIGNS, Finding.SECOND_OPINION, Finding.SIGNS, False, 1)]
    for reading in (changed, decided):
        undo(ledger, reading)
    assert found(ledger) == [(Finding.SIGNS, Finding.SECOND_OPINION, None, True, 1)]
    assert_consistent(ledger)


def test_changed_readings_count_as_they_were_first_made(ledger: Ledger) -> None:
    (image_id,) = two_readers(ledger, 1)
    amend(ledger, decide(ledger, image_id, ADA, NO_SIGNS), SIGNS)
    second = decide(ledger, image_id, BEN, NOT_JUDGED)
    amend(ledger, second, SIGNS)
    assert found(ledger) == [(Finding.NO_SIGNS, Finding.NOT_JUDGED, None, False, 1)]
    assert readings(ledger).left_out == 0, "a change is no second reading"


def test_reading_that_was_taken_back_is_in_no_pair(ledger: Ledger) -> None:
    (image_id,) = two_readers(ledger, 1)
    decide(ledger, image_id, ADA)
    undo(ledger, decide(ledger, image_id, BEN, NO_SIGNS))
    assert (found(ledger), readings(ledger).left_out) == ([], 1)


def test_second_try_of_a_reader_is_in_no_pair(ledger: Ledger) -> None:
    """Between both, the reader may have seen the other reading, or the score."""
    ids = two_readers(ledger, 2)
    decide(ledger, ids[0], ADA)
    undo(ledger, decide(ledger, ids[0], BEN, NO_SIGNS))
    decide(ledger, ids[0], BEN)
    undo(ledger, decide(ledger, ids[1], ADA, NO_SIGNS))
    decide(ledger, ids[1], ADA)
    decide(ledger, ids[1], BEN)
    assert (found(ledger), readings(ledger).left_out) == ([], 3)


def test_the_first_reading_is_the_one_that_the_second_was_compared_with(ledger: Ledger) -> None:
    (image_id,) = two_readers(ledger, 1)
    decide(ledger, image_id, CHEN, SECOND_OPINION)
    decide(ledger, image_id, ADA)
    decide(ledger, image_id, BEN)
    assert found(ledger) == [(Finding.SIGNS, Finding.SIGNS, None, False, 1)]
    assert readings(ledger).pairs[0].first_reader == known_reader(ledger, ADA)


def test_image_that_was_scored_again_keeps_the_pair_of_both_readers(ledger: Ledger) -> None:
    (image_id,) = two_readers(ledger, 1)
    decide(ledger, image_id, ADA)
    decide(ledger, image_id, BEN, NO_SIGNS)
    with ledger.transaction() as session:
        rescores.rescore(session, {1: CROPPED}, later(60))
    lease_images(ledger, [image_id])
    record(ledger, known_model(ledger, "n" * 64), [result(image_id, 0.1)])
    assert found(ledger) == [(Finding.SIGNS, Finding.NO_SIGNS, None, False, 1)]
    known_reader(ledger, "Dora")
    decide(ledger, image_id, "Dora", NO_SIGNS)
    decide(ledger, image_id, ADA, NO_SIGNS)
    assert (len(found(ledger)), readings(ledger).left_out) == (1, 1)


def test_phantoms_canaries_and_erased_images_are_in_no_pair(ledger: Ledger) -> None:
    phantom, erased, counted = two_readers(ledger, 3)
    with ledger.transaction() as session:
        (canary,) = receive(session, arrival(9), run=CANARY_RUN)
    assert canary is not None
    score(ledger, [canary.image_id])
    for image_id in (phantom, erased, counted, canary.image_id):
        decide(ledger, image_id, ADA)
        decide(ledger, image_id, BEN)
    assert [pair[-1] for pair in found(ledger)] == [3]
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == phantom).values(phantom=True))
        erasures.erase(session, [erased], who="user:1", why="asked for", at=AT)
    assert [pair[-1] for pair in found(ledger)] == [1]


def test_only_the_latest_pairs_are_counted(ledger: Ledger) -> None:
    ids = two_readers(ledger, 3)
    for image_id, said in zip(ids, (SIGNS, NO_SIGNS, NO_SIGNS), strict=True):
        decide(ledger, image_id, ADA, said)
        decide(ledger, image_id, BEN, said)
    assert found(ledger, among=2) == [(Finding.NO_SIGNS, Finding.NO_SIGNS, None, False, 2)]


def test_latest_pairs_are_found_by_their_index(ledger: Ledger) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(ledger.engine, "before_cursor_execute", note)
    readings(ledger)
    event.remove(ledger.engine, "before_cursor_execute", note)
    sqlite = ledger.engine.dialect.name == "sqlite"
    ((statement, parameters),) = asked
    with ledger.engine.connect() as connection:
        if not sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    assert any("ix_review_second" in str(row[-1]) for row in plan), plan
