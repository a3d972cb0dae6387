"""Scores of recent images, read or not, are compared with expected ones: a warning, and never a change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.filling import fill, known_model, lease_images, record, result
from tests.site_readings import read_site
from worker import monitoring
from worker.ledger import calibrations
from worker.ledger.calibrations import Layer
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import Image, Model, Prediction
from worker.monitor.drift import Drift
from worker.report.score_shifts import Shift, shifts, warnings
from worker.report.site_calibration import gather, to_record


def scored(ledger: Ledger, scores: list[float], days_ago: int, first: int) -> None:
    """Score new images that arrived and were scored so many days ago."""
    ids = fill(ledger, *range(first, first + len(scores)), run=f"night-2026-{first:02d}")
    lease_images(ledger, ids)
    results = [result(image_id, score) for image_id, score in zip(ids, scores, strict=True)]
    assert record(ledger, known_model(ledger), results) == len(ids)
    with ledger.transaction() as session:
        at = ledger_time(session) - timedelta(days=days_ago)
        session.execute(update(Image).where(Image.id.in_(ids)).values(received_at=at, scored_at=at))
        session.execute(update(Prediction).where(Prediction.image_id.in_(ids)).values(finished_at=at))


def fitted(ledger: Ledger, days_ago: int) -> Layer:
    with ledger.reading() as session:
        model = session.get_one(Model, 1)
        gathered = gather(session, model)
    record_of = to_record(gathered, gathered.figures())
    with ledger.transaction() as session:
        at = ledger_time(session) - timedelta(days=days_ago)
        model = session.get_one(Model, 1)
        return calibrations.put_in_force(session, model, record_of, who="user:1", why="a test", at=at)


def compared(ledger: Ledger, layer: Layer | None) -> dict[str, Shift]:
    monitoring.begin(ledger)
    monitoring.count_all(ledger)
    with ledger.reading() as session:
        return {shift.of: shift for shift in shifts(session, session.get_one(Model, 1), layer)}


def spread(count: int) -> list[float]:
    return [(place + 0.5) / count for place in range(count)]


def test_scores_that_changed_since_the_fit_warn(ledger: Ledger) -> None:
    read_site(ledger)
    layer = fitted(ledger, days_ago=10)
    scored(ledger, [0.97] * 80, 5, first=300)
    found = compared(ledger, layer)
    assert found["calibration"].warns
    assert (
        found["calibration"].sentence == "The scores differ: a large difference that chance does not explain."
    )
    assert found["calibration"].drift.n == 80
    assert found["calibration"].drift.expected_n == 260
    assert warnings(list(found.values())) == [found["calibration"]]


def test_scores_like_those_of_the_fit_do_not_warn(ledger: Ledger) -> None:
    read_site(ledger)
    layer = fitted(ledger, days_ago=10)
    with ledger.reading() as session:
        fit_scores = [
            image.p_pneumonia for image in session.query(Image).order_by(Image.id) if image.p_pneumonia
        ]
    scored(ledger, fit_scores[:120], 5, first=300)
    shift = compared(ledger, layer)["calibration"]
    assert not shift.warns
    assert shift.sentence == "No difference that matters."


def test_recent_scores_are_compared_with_earlier_days(ledger: Ledger) -> None:
    scored(ledger, spread(100), 40, first=1)
    scored(ledger, [0.9] * 100, 3, first=200)
    found = compared(ledger, None)
    assert set(found) == {"card", "earlier"}
    assert found["earlier"].warns
    assert (found["earlier"].drift.n, found["earlier"].drift.expected_n) == (100, 100)
    assert found["card"].sentence == "Not known. The card has no curve to compare with."


def test_days_before_the_fit_and_today_do_not_count(ledger: Ledger) -> None:
    read_site(ledger)
    layer = fitted(ledger, days_ago=4)
    scored(ledger, [0.97] * 80, 6, first=300)
    scored(ledger, [0.97] * 80, 0, first=400)
    shift = compared(ledger, layer)["calibration"]
    assert shift.drift.n == 0
    assert shift.sentence.startswith("Not known.")


@pytest.mark.parametrize(
    ("drift", "warns", "sentence"),
    [
        (Drift(0.05, p=0.0001), False, "No difference that matters."),
        (Drift(0.2, p=0.2), False, "No difference that matters."),
        (Drift(0.2, p=0.0001), True, "The scores differ: a moderate difference that chance does not explain."),
        (Drift(0.3, p=0.0001), True, "The scores differ: a large difference that chance does not explain."),
        (Drift(None, why_not="Too few."), False, "Not known. Too few."),
    ],
)  # fmt: skip
def test_warning_needs_size_and_certainty(drift: Drift, *, warns: bool, sentence: str) -> None:
    shift = Shift("card", "the card", None, None, drift)
    assert (shift.warns, shift.sentence) == (warns, sentence)
