"""The read cases of a site: scored images of finished runs with their final readings."""

from __future__ import annotations

from sqlalchemy import update

from tests.filling import fill, known_model, known_reader, later, lease_images, record, result, score
from worker.ledger import missed_cases, review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.read_cases import ReadCases, read_cases, seconds_an_image
from worker.ledger.session import Ledger
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

SIGNS, NO_SIGNS = Statement(Finding.SIGNS), Statement(Finding.NO_SIGNS)
NOT_JUDGED = Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE)
MODEL = "m" * 64


def decide(ledger: Ledger, image_id: int, said: Statement, open_ms: int | None = None) -> None:
    reader_id = known_reader(ledger)
    with ledger.transaction() as session:
        seen = Seen(open_ms=open_ms)
        review.decide(session, image_id, reader_id=reader_id, statement=said, at=later(60), seen=seen)


def night(ledger: Ledger) -> list[int]:
    """Return two flagged images, an uncertain one and three clear ones; the last but one is drawn."""
    ids = fill(ledger, *range(6))
    score(ledger, ids[:2])
    score(ledger, ids[2:3], p_pneumonia=0.5)
    score(ledger, ids[3:], p_pneumonia=0.1)
    with ledger.transaction() as session:
        drawn = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id == ids[4]).values(**drawn))
    return ids


def found(ledger: Ledger, model: str = MODEL) -> ReadCases:
    with ledger.reading() as session:
        runs = list(missed_cases.extent(session).runs)
        return read_cases(session, runs, model)


def test_labels_are_the_final_readings(ledger: Ledger) -> None:
    ids = night(ledger)
    assert found(ledger) == ReadCases((), 0), "the run is not read to the end"
    for image_id, said in zip([*ids[:3], ids[4]], (SIGNS, NO_SIGNS, NOT_JUDGED, NO_SIGNS), strict=True):
        decide(ledger, image_id, said)
    decide(ledger, ids[3], SIGNS)
    images, score_first = found(ledger)
    assert [image.has_signs for image in images] == [True, False, None, None, False, None]
    assert [image.verdict for image in images] == [
        "flagged",
        "flagged",
        "uncertain",
        "clear",
        "clear",
        "clear",
    ]
    assert [image.score for image in images] == [0.9, 0.9, 0.5, 0.1, 0.1, 0.1]
    assert score_first == 4, "the default protocol shows scores first"


def test_images_of_another_model_are_no_cases(ledger: Ledger) -> None:
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    record(ledger, known_model(ledger, "n" * 64), [result(ids[0])])
    decide(ledger, ids[0], SIGNS)
    assert found(ledger).images == []
    assert len(found(ledger, "n" * 64).images) == 1


def test_seconds_an_image_are_the_median_of_the_readings(ledger: Ledger) -> None:
    ids = night(ledger)
    with ledger.reading() as session:
        assert seconds_an_image(session) is None
    for image_id, open_ms in zip(ids[:3], (4_000, 90_000, 12_340), strict=True):
        decide(ledger, image_id, SIGNS, open_ms)
    with ledger.reading() as session:
        assert seconds_an_image(session) == 12.3
