"""Registered models: which one is active, and how many images model has scored."""

from __future__ import annotations

from datetime import datetime

from tests.filling import AT, fill, later, lease_images, result
from worker.ledger import predictions
from worker.ledger.models import RegisteredModel, find_model, registered_models
from worker.ledger.predictions import ScoringModel
from worker.ledger.session import Ledger

OLD, NEW = "a" * 64, "b" * 64


def register(ledger: Ledger, sha256: str, at: datetime, point: str = "balanced") -> ScoringModel:
    with ledger.transaction() as session:
        return predictions.register_model(
            session,
            sha256=sha256,
            name="nightread",
            version="0.0.1",
            card={"name": "nightread"},
            point={"threshold": 0.5, "band_low": 0.4, "band_high": 0.6},
            point_name=point,
            at=at,
        )


def score(ledger: Ledger, ids: list[int], model: ScoringModel, at: datetime) -> None:
    lease_images(ledger, ids)
    with ledger.transaction() as session:
        recorded = predictions.record(
            session,
            owner="w1",
            model=model,
            scored=[result(image_id) for image_id in ids],
            rejected=[],
            started_at=AT,
            at=at,
            versions={},
        )
    assert recorded == len(ids)


def known(ledger: Ledger) -> list[RegisteredModel]:
    with ledger.reading() as session:
        return registered_models(session)


def summary(ledger: Ledger) -> list[tuple[str, bool, int, str | None]]:
    return [
        (
            model.model.sha256,
            model.is_active,
            model.scored,
            model.operating_point.name if model.operating_point else None,
        )
        for model in known(ledger)
    ]


def test_empty_ledger_knows_no_model(ledger: Ledger) -> None:
    assert known(ledger) == []
    assert find_model([], OLD) is None


def test_first_registered_model_is_active(ledger: Ledger) -> None:
    register(ledger, OLD, AT)
    assert summary(ledger) == [(OLD, True, 0, None)]


def test_each_model_has_its_count_and_operating_point(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3)
    score(ledger, ids[:2], register(ledger, OLD, AT), later(1))
    score(ledger, ids[2:], register(ledger, NEW, later(2), "screen"), later(3))
    assert summary(ledger) == [(NEW, True, 1, "screen"), (OLD, False, 2, "balanced")]
    assert [model.model.card for model in known(ledger)] == [{"name": "nightread"}] * 2


def test_newly_registered_model_is_active_at_once(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1), register(ledger, OLD, AT), later(1))
    register(ledger, NEW, later(2))
    assert summary(ledger) == [(NEW, True, 0, None), (OLD, False, 1, "balanced")]


def test_older_model_that_scores_again_is_active(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    old = register(ledger, OLD, AT)
    score(ledger, ids[:1], register(ledger, NEW, later(1)), later(2))
    score(ledger, ids[1:], old, later(3))
    assert summary(ledger) == [(OLD, True, 1, "balanced"), (NEW, False, 1, "balanced")]


def test_operating_point_is_that_of_the_latest_prediction(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3)
    screen = register(ledger, OLD, AT, "screen")
    score(ledger, ids[:1], screen, later(1))
    score(ledger, ids[1:2], register(ledger, OLD, later(2), "balanced"), later(2))
    assert summary(ledger)[0][3] == "balanced"
    score(ledger, ids[2:], screen, later(3))
    assert summary(ledger)[0][3] == "screen"


def test_model_is_found_by_sha256_in_upper_case(ledger: Ledger) -> None:
    register(ledger, OLD, AT)
    model = find_model(known(ledger), OLD.upper())
    assert model is not None
    assert model.model.sha256 == OLD
    assert find_model(known(ledger), OLD[:12]) is None
