"""A reading that is sent twice is found again by its content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.filling import AT, fill, known_reader, later, score
from worker.ledger import review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.repeats import recorded_before
from worker.ledger.session import Ledger
from worker.ledger.tables import Review

SAID = Statement(Finding.NOT_JUDGED, NotJudged.WRONG_VIEW, note="lateral", other_finding="old fracture")
SEEN = Seen(prediction_id=1, score_shown=True, map_shown=False, open_ms=4_321)


@pytest.fixture
def reading(ledger: Ledger) -> Review:
    """A reading of image 1."""
    score(ledger, fill(ledger, 1))
    with ledger.transaction() as session:
        return review.decide(session, 1, reader_id=known_reader(ledger), statement=SAID, at=AT, seen=SEEN)


def found(ledger: Ledger, said: Statement, seen: Seen, **more: object) -> int | None:
    options = {"reader_id": known_reader(ledger)} | more
    with ledger.transaction() as session:
        row = recorded_before(session, 1, statement=said, seen=seen, **options)  # type: ignore[arg-type]
        return row.id if row else None


def test_same_reading_is_found_also_when_it_was_taken_back(ledger: Ledger, reading: Review) -> None:
    assert found(ledger, SAID, SEEN) == reading.id
    assert found(ledger, SAID, replace(SEEN, prediction_id=None)) == reading.id
    assert found(ledger, SAID, replace(SEEN, score_shown=None, map_shown=None)) == reading.id
    with ledger.transaction() as session:
        review.undo(session, reader_id=reading.user_id, at=later(5))
    assert found(ledger, SAID, SEEN) == reading.id


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (Statement(Finding.SIGNS, note="lateral", other_finding="old fracture"), SEEN),
        (replace(SAID, reason=NotJudged.INADEQUATE), SEEN),
        (replace(SAID, note="lateral?"), SEEN),
        (replace(SAID, other_finding=""), SEEN),
        (SAID, replace(SEEN, open_ms=4_322)),
        (SAID, replace(SEEN, prediction_id=0)),
        (SAID, replace(SEEN, open_ms=None)),
    ],
)
def test_reading_that_differs_in_anything_is_another(
    ledger: Ledger, reading: Review, said: Statement, seen: Seen
) -> None:
    assert found(ledger, said, seen) is None


def test_another_readers_same_reading_is_another(ledger: Ledger, reading: Review) -> None:
    assert found(ledger, SAID, SEEN, reader_id=known_reader(ledger, "Ben")) is None


def test_same_change_is_found(ledger: Ledger, reading: Review) -> None:
    with ledger.transaction() as session:
        changed = review.amend(
            session,
            reading.id,
            reader_id=reading.user_id,
            statement=SAID,
            why="looked again",
            at=later(5),
            seen=SEEN,
        )
    assert found(ledger, SAID, SEEN, amends=reading.id, why="looked again") == changed.id
    assert found(ledger, SAID, SEEN, amends=reading.id, why="another reason") is None
    assert found(ledger, SAID, SEEN, amends=changed.id, why="looked again") is None
    assert found(ledger, SAID, SEEN) == reading.id
