"""The map of logistic recalibration, and its fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.site_calibrations import INTERCEPT, SLOPE, simulated
from worker.recalibration import logistic
from worker.recalibration.held_out import LabelledScore
from worker.recalibration.logistic import Floats, Recalibration


def arrays(cases: list[LabelledScore]) -> tuple[Floats, Floats, Floats]:
    return (
        np.array([case.score for case in cases]),
        np.array([float(case.has_signs) for case in cases]),
        np.array([[case.weight for case in cases]]),
    )


def test_map_keeps_the_order_and_can_be_turned_round() -> None:
    recalibration = Recalibration(-1.2, 0.7)
    scores = [0.0, 1e-5, 0.2, 0.5, 0.9, 0.99999, 1.0]
    there = [recalibration.probability(score) for score in scores]
    assert there == sorted(set(there))
    assert recalibration.probability(0.5) == pytest.approx(1 / (1 + math.exp(1.2)))
    for score in scores[1:-1]:
        assert recalibration.score(logistic.log_odds(recalibration.probability(score))) == pytest.approx(
            score
        )


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_slope_must_be_above_zero(slope: float) -> None:
    with pytest.raises(ValueError, match="slope"):
        Recalibration(0.0, slope)


def test_identity_changes_nothing() -> None:
    assert Recalibration(0.0, 1.0).probability(0.31) == pytest.approx(0.31)


def test_fit_finds_shift_and_slope_from_a_weighted_sample() -> None:
    """Without the weights, the drawn images would count for themselves only, and the intercept would be wrong."""
    cases, _ = simulated(40_000, drawn=0.1)
    scores, signs, weights = arrays(cases)
    assert logistic.fit(scores, signs, weights)[0] == pytest.approx([INTERCEPT, SLOPE], abs=0.06)


def test_fit_is_the_minimum_of_the_stated_rule() -> None:
    scores, signs, weights = arrays(simulated(500)[0])
    scaled = weights[0] / weights[0].sum() * weights[0].sum() ** 2 / (weights[0] ** 2).sum()
    z = np.log(scores / (1 - scores))

    def objective(intercept: float, slope: float) -> float:
        p = 1 / (1 + np.exp(-(intercept + slope * z)))
        loss = -(scaled * np.log(np.where(signs > 0, p, 1 - p))).sum()
        return float(loss + (intercept / 2) ** 2 / 2 + ((slope - 1) / 0.5) ** 2 / 2)

    intercept, slope = logistic.fit(scores, signs, weights)[0]
    least = objective(intercept, slope)
    for step in (-1e-3, 1e-3):
        assert objective(intercept + step, slope) > least < objective(intercept, slope + step)


def test_few_images_change_little() -> None:
    scores, signs, weights = np.array([0.6, 0.4]), np.array([0.0, 1.0]), np.ones((1, 2))
    changes = [
        abs(logistic.fit(np.tile(scores, times), np.tile(signs, times), np.ones((1, 2 * times)))[0, 1] - 1)
        for times in (1, 10, 100)
    ]
    assert changes == sorted(changes)
    assert changes[0] < 0.15
    assert changes[2] > 0.5
    assert logistic.fit(scores, signs, 0 * weights)[0] == pytest.approx([0, 1])


def test_separated_classes_have_a_fit() -> None:
    scores, signs, weights = np.array([0.6, 0.7, 0.3, 0.4]), np.array([1.0, 1, 0, 0]), np.ones((1, 4))
    intercept, slope = logistic.fit(scores, signs, weights)[0]
    assert abs(intercept) < 1
    assert 1 < slope < 2


def test_effective_number_is_that_of_kish() -> None:
    assert logistic.effective(np.array([1.0, 1, 1, 1])) == 4
    assert logistic.effective(np.array([10.0, 1, 1])) == pytest.approx(144 / 102)


def test_calibration_intercept_and_slope_measure_what_was_simulated() -> None:
    scores, signs, weights = arrays(simulated(40_000, intercept=0.5, slope=1.0, drawn=1.0)[0])
    assert logistic.calibration_intercept(scores, signs, weights)[0] == pytest.approx(0.5, abs=0.06)
    scores, signs, weights = arrays(simulated(40_000, intercept=0.0, slope=0.6, drawn=1.0)[0])
    assert logistic.calibration_slope(scores, signs, weights)[0] == pytest.approx(0.6, abs=0.03)
