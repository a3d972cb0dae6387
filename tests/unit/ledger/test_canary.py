from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update

from tests.filling import (
    NOT_AN_IMAGE,
    arrival,
    fill,
    known_model,
    later,
    lease_images,
    receive,
    record,
    result,
)
from worker.ledger import reports
from worker.ledger.canary import RUN, CanaryResult, last_sent, latest_canary
from worker.ledger.file_counts import file_counts
from worker.ledger.session import Ledger
from worker.ledger.status import status_document
from worker.ledger.tables import Image


def latest(ledger: Ledger, seconds: float = 2) -> CanaryResult | None:
    with ledger.reading() as session:
        return latest_canary(session, later(seconds))


def send(ledger: Ledger, number: int, p_pneumonia: float, *, model: str = "m") -> int:
    """Record a canary and its score by a model."""
    (image_id,) = fill(ledger, number, run=RUN)
    lease_images(ledger, [image_id])
    record(ledger, known_model(ledger, model * 64), [result(image_id, p_pneumonia)])
    return image_id


def test_no_canary_means_no_result(ledger: Ledger) -> None:
    fill(ledger, 1)
    assert latest(ledger) is None
    with ledger.reading() as session:
        assert last_sent(session) is None
        assert status_document(session, later(1))["canary"] is None


def test_canary_is_compared_with_the_models_first_canary(ledger: Ledger) -> None:
    send(ledger, 1, 0.2)
    first = latest(ledger)
    assert first is not None
    assert (first.p_pneumonia, first.expected, first.ok) == (0.2, None, True)
    send(ledger, 2, 0.205)
    send(ledger, 3, 0.7, model="n")
    other = latest(ledger)
    assert other is not None
    assert (other.expected, other.ok) == (None, True), "another model may have another score"
    image_id = send(ledger, 4, 0.215)
    assert latest(ledger) == replace(
        other,
        image=image_id,
        p_pneumonia=0.215,
        expected=0.2,
        trouble="The canary has the score 0.215. The first canary of the same model had the score 0.200.",
        ok=False,
    )
    send(ledger, 5, 0.2)
    assert (result := latest(ledger)) is not None
    assert (result.expected, result.ok) == (0.2, True)


def test_unscored_canary_is_a_problem_after_ten_minutes(ledger: Ledger) -> None:
    ids = fill(ledger, 1, run=RUN)
    waits = latest(ledger, 599)
    assert waits is not None
    assert (waits.state, waits.ok, waits.trouble) == ("pending", None, None)
    lease_images(ledger, ids)
    late = latest(ledger, 601)
    assert late is not None
    assert (late.ok, late.trouble) == (False, "The canary was not scored within ten minutes.")


def test_rejected_canary_is_a_problem_with_its_reason(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        receive(session, arrival(1, rejection=NOT_AN_IMAGE), run=RUN)
    result = latest(ledger)
    assert result is not None
    assert (result.ok, result.trouble) == (False, "The canary was rejected: The file is not an image.")
    with ledger.reading() as session:
        assert result.trouble in status_document(session, later(1))["troubles"]


def test_canaries_have_a_run_of_their_own(ledger: Ledger) -> None:
    fill(ledger, 1, run="night-1")
    send(ledger, 2, 0.2)
    with ledger.reading() as session:
        tonight, canaries = reports.find_run(session, None), reports.find_run(session, RUN)
        assert tonight is not None
        assert canaries is not None
        assert (tonight.name, canaries.name) == ("night-1", RUN)
        assert [file_counts(session, run.id).received for run in (tonight, canaries)] == [1, 1]
        assert (total := file_counts(session)).balanced
        assert total.received == 2
        assert last_sent(session) == later(0)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.run_id == canaries.id).values(received_at=later(7)))
    with ledger.reading() as session:
        assert last_sent(session) == later(7)
