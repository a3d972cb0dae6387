from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from tests.filling import (
    AT,
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
    score,
)
from worker.ledger import leases
from worker.ledger.predictions import ImageFacts, RejectionRecord
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, Model, OperatingPointRow, Prediction


def predictions(ledger: Ledger) -> list[Prediction]:
    with ledger.reading() as session:
        return list(session.scalars(select(Prediction).order_by(Prediction.image_id)))


def test_prediction_records_all_that_replay_needs(ledger: Ledger) -> None:
    (only,) = fill(ledger, 1)
    model = known_model(ledger)
    lease_images(ledger, [only])
    assert record(ledger, model, [result(only, 0.7)]) == 1
    (kept,) = predictions(ledger)
    assert (kept.model_id, kept.operating_point_id) == (model.model_id, model.operating_point_id)
    assert (kept.p_normal, kept.p_bacterial, kept.p_viral, kept.p_pneumonia) == (1 - 0.7, 0.35, 0.35, 0.7)
    assert (kept.started_at, kept.finished_at, kept.worker) == (AT, later(1), "w1")
    assert (kept.versions, kept.activation) == ({"nightread": "0"}, bytes(4))
    scored = image(ledger, only)
    assert (scored.state, scored.verdict, scored.p_pneumonia) == ("scored", "flagged", 0.7)
    assert (scored.review_state, scored.lease_owner, scored.lease_until) == ("unread", None, None)
    assert_consistent(ledger)


@pytest.mark.parametrize("phantom", [False, True])
def test_worker_fills_in_facts_that_the_intake_lacked(ledger: Ledger, phantom: bool) -> None:
    with ledger.transaction() as session:
        (row,) = receive(session, replace(arrival(1), format=None, width=None, height=None, phantom=phantom))
    assert row is not None
    lease_images(ledger, [row.image_id])
    facts = ImageFacts("png", 640, 480)
    record(ledger, known_model(ledger), [replace(result(row.image_id), facts=facts)])
    kept = image(ledger, row.image_id)
    assert ImageFacts(kept.format or "", kept.width or 0, kept.height or 0) == facts
    assert kept.phantom is phantom
    assert_consistent(ledger)


def test_rejection_is_recorded_with_code_and_sentence(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids)
    refused = [RejectionRecord(ids[1], "blank", "The image shows nothing.")]
    assert record(ledger, known_model(ledger), [result(ids[0])], refused) == 2
    kept = image(ledger, ids[1])
    assert (kept.state, kept.reason_code, kept.reason) == ("rejected", "blank", "The image shows nothing.")
    counts = assert_consistent(ledger)
    assert (counts.scored, counts.rejected) == (1, 1)


def test_result_of_a_lost_lease_is_not_recorded(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    model = known_model(ledger)
    lease_images(ledger, ids, owner="slow")
    with ledger.transaction() as session:
        leases.expire(session, lease_s=60, max_attempts=3, at=later(61))
    lease_images(ledger, ids[:1], owner="quick", at=later(70))
    assert record(ledger, model, [result(i) for i in ids], owner="slow") == 0
    assert [image(ledger, i).state for i in ids] == ["leased", "pending"]
    assert record(ledger, model, [result(ids[0])], owner="quick") == 1
    assert record(ledger, model, [], [RejectionRecord(ids[0], "blank", "Too late.")], owner="slow") == 0
    assert len(predictions(ledger)) == 1
    assert image(ledger, ids[0]).state == "scored"
    assert_consistent(ledger)


@pytest.mark.parametrize("distance", [None, 0.5, 1.0, 1.000001])
def test_distance_stands_on_prediction_and_image_and_what_is_far_is_never_clear(
    ledger: Ledger, distance: float | None
) -> None:
    (only,) = fill(ledger, 1)
    score(ledger, [only], p_pneumonia=0.1, distance=distance)
    with ledger.reading() as session:
        kept = session.scalars(select(Prediction).options(joinedload(Prediction.operating_point))).one()
    is_far = distance == 1.000001
    assert (kept.distance, kept.is_far, kept.clear_below) == (distance, is_far, 0 if is_far else 0.4)
    assert (image(ledger, only).distance, image(ledger, only).is_far) == (distance, is_far)
    assert_consistent(ledger)


@pytest.mark.parametrize("population", ["inside", "outside", "unknown", None])
def test_population_stands_on_prediction_and_image(ledger: Ledger, population: str | None) -> None:
    (only,) = fill(ledger, 1)
    score(ledger, [only], p_pneumonia=0.1, population=population)
    with ledger.reading() as session:
        kept = session.scalars(select(Prediction).options(joinedload(Prediction.operating_point))).one()
    expected = 0 if population == "outside" else 0.4
    assert (kept.population, kept.clear_below) == (population, expected)
    assert image(ledger, only).population == population
    assert_consistent(ledger)


def test_another_card_of_a_known_model_replaces_its_card(ledger: Ledger) -> None:
    first = known_model(ledger)
    assert known_model(ledger, card={"name": "nightread", "population": {}}) == first
    with ledger.reading() as session:
        assert session.get_one(Model, first.model_id).card == {"name": "nightread", "population": {}}
        kinds = session.scalars(select(AuditEvent.kind).order_by(AuditEvent.seq)).all()
    assert kinds == ["model_registered", "operating_point_set", "card_replaced"]
    assert_consistent(ledger)


def test_image_and_model_have_one_prediction(ledger: Ledger) -> None:
    (only,) = fill(ledger, 1)
    score(ledger, [only])
    (kept,) = predictions(ledger)
    row = {c.name: getattr(kept, c.name) for c in Prediction.__table__.columns if c.name != "id"}
    with pytest.raises(IntegrityError), ledger.transaction() as session:
        session.execute(insert(Prediction).values(**row))


def test_concurrent_workers_record_one_prediction_each(ledger: Ledger) -> None:
    ids = fill(ledger, *range(12))
    model = known_model(ledger)
    for number in range(4):
        lease_images(ledger, ids[3 * number : 3 * number + 3], owner=f"w{number}")

    def finish(number: int) -> int:
        # Each worker reports all images; only its own three leases are recorded.
        return record(ledger, model, [result(i) for i in ids], owner=f"w{number}")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(finish, range(4))) == [3, 3, 3, 3]
    assert [p.image_id for p in predictions(ledger)] == ids
    assert assert_consistent(ledger).scored == 12


def test_model_and_operating_point_are_registered_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as threads:
        registered = list(threads.map(lambda _: known_model(ledger), range(4)))
    assert len(set(registered)) == 1
    other = known_model(ledger, "n" * 64)
    assert other.model_id != registered[0].model_id
    with ledger.reading() as session:
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (Model, OperatingPointRow)]
        kinds = session.scalars(select(AuditEvent.kind).order_by(AuditEvent.seq)).all()
    assert counts == [2, 2]
    assert kinds == ["model_registered", "operating_point_set"] * 2
