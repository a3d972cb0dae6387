"""training.calibration.calibrate: temperature, biases and operating points, on simulated scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.calibration.calibrate import (
    Calibration,
    Evidence,
    Labelled,
    calibrate,
    calibrate_worst,
    lowest,
    operating_points,
    pooled,
    prevalence_weights,
    second_look,
)
from training.errors import WrongInput
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


def test_worst_condition_decides_the_operating_points() -> None:
    pneumonia, p = drawn(4000)
    missed, alarmed = Labelled(pneumonia, p**2), Labelled(pneumonia, np.sqrt(p))
    conditions = {"typical": Labelled(pneumonia, p), "missed": missed, "alarmed": alarmed}
    points = operating_points(pneumonia, p, RECIPE, list(conditions.values()))
    alone = {name: operating_points(*scores, RECIPE) for name, scores in (("missed", (pneumonia, missed.p)),
        ("alarmed", (pneumonia, alarmed.p)))}  # fmt: skip
    for bound in ("threshold", "band_low"):
        assert getattr(points["screen"], bound) == getattr(alone["missed"]["screen"], bound)
    assert points["rule-in"].threshold == alone["alarmed"]["rule-in"].threshold
    assert points["balanced"].threshold == RECIPE.prevalence
    for scored in conditions.values():
        assert (scored.p[pneumonia] >= points["screen"].threshold).mean() >= RECIPE.screen_sensitivity
        assert (scored.p[~pneumonia] < points["rule-in"].threshold).mean() >= RECIPE.rule_in_specificity
    # What a point states is measured on the typical scores.
    threshold = points["screen"].threshold
    assert measured(points["screen"])[0] == pytest.approx((p[pneumonia] >= threshold).mean())


def test_lowest_figures_are_those_of_the_worst_condition() -> None:
    pneumonia, p = drawn(1000)
    conditions = {
        "typical": Labelled(pneumonia, p),
        "missed": Labelled(pneumonia, p**2),
        "alarmed": Labelled(pneumonia, np.sqrt(p)),
    }
    found = lowest(conditions, 0.5)
    assert (found["sensitivity_in"], found["specificity_in"]) == ("missed", "alarmed")
    assert found["sensitivity"] == pytest.approx((p[pneumonia] ** 2 >= 0.5).mean())
    assert found["specificity"] == pytest.approx((np.sqrt(p[~pneumonia]) < 0.5).mean())


def simulated(seed: int, factor: float, shift: float, count: int = 1500) -> Evidence:
    """Return logits that are too sure by a factor, and moved towards normal."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((count, 3)) * 2
    powers = np.exp(logits)
    chosen = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((count, 1))
    moved = logits * factor + np.array([shift, 0.0, 0.0])
    return Evidence(moved, np.eye(3, dtype=np.float32)[chosen.argmax(axis=1)], np.ones(count))


def log_loss(calibration: Calibration, evidence: Evidence) -> float:
    p = calibration.probabilities(evidence.logits)
    return float(-np.log((p * evidence.targets).sum(axis=1)).mean())


def worst_loss(calibration: Calibration, conditions: list[Evidence]) -> float:
    return max(log_loss(calibration, evidence) for evidence in conditions)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_worst_calibration_has_the_least_largest_loss(seed: int) -> None:
    conditions = [simulated(seed, 1.0, 0.0), simulated(seed + 10, 3.0, 1.5), simulated(seed + 20, 2.0, -1.0)]
    found = calibrate_worst(conditions)
    least = worst_loss(found, conditions)
    assert least < worst_loss(calibrate(pooled(conditions)), conditions) - 0.001
    # The problem is convex, so a place that no neighbour betters is the best one.
    rng = np.random.default_rng(seed)
    for size in (0.3, 0.1, 0.03, 0.01):
        for change in rng.standard_normal((60, 4)) * size:
            other = Calibration(found.temperature * np.exp(change[0]), found.bias + change[1:])
            assert worst_loss(other, conditions) >= least - 1e-6


def test_worst_calibration_of_one_condition_is_the_ordinary_one() -> None:
    evidence = simulated(4, 2.5, 0.7)
    found, ordinary = calibrate_worst([evidence]), calibrate(evidence)
    assert found.temperature == pytest.approx(ordinary.temperature, rel=1e-3)
    assert found.bias == pytest.approx(ordinary.bias, abs=2e-3)


def test_worst_calibration_without_an_answer_is_an_error() -> None:
    evidence = simulated(5, 1.0, 0.0)
    without_numbers = Evidence(np.full_like(evidence.logits, np.nan), evidence.targets, evidence.weights)
    with pytest.raises(WrongInput, match="of 2 conditions did not converge"):
        calibrate_worst([evidence, without_numbers])


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
