"""training.calibration.calibrate: temperature, biases and operating points, on simulated scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.calibration.calibrate import (
    Evidence,
    calibrate,
    operating_points,
    prevalence_weights,
    second_look,
)
from training.recipe import load_recipe
from worker.inference.triage import OperatingPoint, Verdict, triage

RECIPE = load_recipe("nightread").calibrate


def drawn(n: int, sharpness: float = 1.5, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    pneumonia = rng.random(n) < 0.6
    return pneumonia, 1 / (1 + np.exp(-sharpness * (np.where(pneumonia, 1, -1) + rng.standard_normal(n))))


def measured(point: OperatingPoint) -> tuple[float, float]:
    assert point.sensitivity is not None
    assert point.specificity is not None
    return point.sensitivity, point.specificity


def test_operating_points_meet_their_targets() -> None:
    pneumonia, p = drawn(4000)
    points = operating_points(pneumonia, p, RECIPE)
    screen, balanced, rule_in = points["screen"], points["balanced"], points["rule-in"]
    assert RECIPE.screen_sensitivity <= measured(screen)[0] < RECIPE.screen_sensitivity + 0.001
    assert RECIPE.rule_in_specificity <= measured(rule_in)[1] < RECIPE.rule_in_specificity + 0.001
    assert balanced.threshold == RECIPE.prevalence
    assert screen.threshold < balanced.threshold < rule_in.threshold
    assert all(point.band_high == point.threshold for point in points.values())
    assert (balanced.band_low, rule_in.band_low) == (screen.threshold, balanced.threshold)
    cleared = float((p[pneumonia] < screen.band_low).mean())
    assert RECIPE.screen_clear_sensitivity <= 1 - cleared < RECIPE.screen_clear_sensitivity + 0.001


def test_a_more_sensitive_point_flags_more_and_clears_less() -> None:
    pneumonia, p = drawn(4000)
    points = operating_points(pneumonia, p, RECIPE)
    shares = [
        tuple(float(np.mean([triage(score, points[name]) == verdict for score in p])) for verdict in Verdict)
        for name in ("screen", "balanced", "rule-in")
    ]
    flagged, uncertain, clear = zip(*shares, strict=True)
    assert flagged[0] > flagged[1] > flagged[2]
    assert clear[0] < clear[1] < clear[2]
    assert min(uncertain) > 0


@pytest.mark.parametrize("sharpness", [0.0001, 0.2, 1.5, 3.0, 20.0])
def test_operating_points_keep_their_order(sharpness: float) -> None:
    points = operating_points(*drawn(2000, sharpness, seed=4), RECIPE)
    thresholds = [points[name].threshold for name in ("screen", "balanced", "rule-in")]
    assert thresholds == sorted(thresholds)


def test_temperature_corrects_overconfidence() -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((4000, 3)) * 2
    powers = np.exp(logits)
    chosen = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((4000, 1))
    targets = np.eye(3, dtype=np.float32)[chosen.argmax(axis=1)]
    for factor in (3.0, 0.5):
        found = calibrate(Evidence(logits * factor, targets, np.ones(4000)))
        assert found.temperature == pytest.approx(factor, rel=0.1)
        assert found.bias == pytest.approx(0, abs=0.3)


def test_weights_give_the_stated_prevalence() -> None:
    pneumonia, _ = drawn(500)
    weights = prevalence_weights(pneumonia, 0.2)
    assert weights[pneumonia].sum() / weights.sum() == pytest.approx(0.2)


def test_second_look_covers_the_requested_share() -> None:
    _, p = drawn(4000)
    look = second_look(p, RECIPE)
    assert look is not None
    assert look.selects(p).mean() == pytest.approx(RECIPE.looked_at_again, abs=0.001)
    odds = [edge / (1 - edge) for edge in (look.low, RECIPE.prevalence, look.high)]
    assert odds[1] / odds[0] == pytest.approx(odds[2] / odds[1])


def test_second_look_can_be_empty() -> None:
    _, p = drawn(100)
    assert second_look(p, RECIPE.model_copy(update={"looked_at_again": 0.0})) is None
    assert second_look(np.full(100, RECIPE.prevalence), RECIPE) is None
