"""training.metrics and calibrate, against scikit-learn and against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from training.calibrate import operating_points, temperature
from training.metrics import Scored, auc, confusion, expected_calibration_error, measure, with_intervals
from training.recipe import load_recipe
from worker.inference.triage import OperatingPoint


def scored(n: int = 400, seed: int = 0, images_per_patient: int = 1, sharpness: float = 1.5) -> Scored:
    rng = np.random.default_rng(seed)
    subtype = rng.integers(0, 3, n)
    pneumonia = subtype > 0
    p = 1 / (1 + np.exp(-sharpness * (np.where(pneumonia, 1, -1) + rng.standard_normal(n))))
    predicted = np.where(rng.random(n) < 0.8, subtype, rng.integers(0, 3, n))
    return Scored(pneumonia, p, subtype, predicted, np.arange(n) // images_per_patient)


def test_metrics_are_those_of_scikit_learn() -> None:
    one = scored()
    called = one.p >= 0.4
    found = measure(one, 0.4)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(one.pneumonia, one.p))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(one.pneumonia, called))
    assert found["precision"] == pytest.approx(sk.precision_score(one.pneumonia, called))
    assert found["recall"] == pytest.approx(sk.recall_score(one.pneumonia, called))
    assert found["specificity"] == pytest.approx(sk.recall_score(~one.pneumonia, ~called))
    assert found["f1"] == pytest.approx(sk.f1_score(one.pneumonia, called))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(one.pneumonia, one.p))
    assert found["three_class_accuracy"] == pytest.approx(sk.accuracy_score(one.subtype, one.predicted))
    tn, fp, fn, tp = sk.confusion_matrix(one.pneumonia, called).ravel()
    assert list(confusion(one, 0.4).values()) == [tp, fn, fp, tn]


def test_points_on_the_curve_are_those_of_scikit_learn() -> None:
    one = scored()
    false_alarms, sensitivity, _ = sk.roc_curve(one.pneumonia, one.p, drop_intermediate=False)
    found = measure(one, 0.5)
    assert found["sensitivity_at_specificity_90"] == pytest.approx(sensitivity[false_alarms <= 0.1].max())
    assert found["specificity_at_sensitivity_95"] == pytest.approx(
        1 - false_alarms[sensitivity >= 0.95].min()
    )


def test_ties_count_half() -> None:
    assert auc(np.array([True, False]), np.array([0.5, 0.5])) == 0.5
    assert auc(np.array([True, True, False]), np.array([0.5, 0.9, 0.5])) == 0.75


def test_what_is_not_defined_is_none() -> None:
    sick = scored().at(scored().pneumonia)
    found = with_intervals(sick, lambda one: measure(one, 0.5), repeats=20, seed=1)
    assert found["auc"] is None
    assert found["auc_ci"] == [None, None]
    assert found["specificity"] is None
    assert found["recall"] is not None
    unknown = Scored(sick.pneumonia, sick.p, np.full(len(sick), -1), sick.predicted, sick.patient)
    assert measure(unknown, 0.5)["three_class_accuracy"] is None


def test_the_calibration_error_of_bins_done_by_hand() -> None:
    p = np.repeat([0.1, 0.9], 150)
    pneumonia = np.concatenate([np.arange(150) % 5 == 0, np.arange(150) % 10 != 0])
    # 0.2 of the first half have it against 0.1, 0.9 of the second against 0.9; the bin in the
    # middle, of 20 images, holds ten of each.
    assert expected_calibration_error(pneumonia, p) == pytest.approx(0.05, abs=0.005)
    assert expected_calibration_error(np.ones(30, dtype=bool), np.full(30, 0.25)) == pytest.approx(0.75)


def test_an_interval_holds_its_metric_and_is_the_same_every_time() -> None:
    found = with_intervals(scored(), lambda one: measure(one, 0.5), repeats=200, seed=7)
    again = with_intervals(scored(), lambda one: measure(one, 0.5), repeats=200, seed=7)
    assert found == again
    for name in ("auc", "accuracy", "recall", "ece", "brier"):
        low, high = found[f"{name}_ci"]
        assert low < high
        assert low - 0.03 <= found[name] <= high + 0.03


def test_patients_with_many_images_make_intervals_wider() -> None:
    """Ten copies of each image are no more evidence than one."""
    alone = scored(80)
    copies = alone.at(np.repeat(np.arange(80), 10))
    as_strangers = Scored(copies.pneumonia, copies.p, copies.subtype, copies.predicted, np.arange(800))

    def width(one: Scored) -> float:
        low, high = with_intervals(one, lambda each: measure(each, 0.5), 300, 3)["accuracy_ci"]
        return float(high - low)

    assert width(copies) == pytest.approx(width(alone), rel=0.05)
    assert width(as_strangers) < 0.5 * width(copies)


def measured(point: OperatingPoint) -> tuple[float, float]:
    assert point.sensitivity is not None
    assert point.specificity is not None
    return point.sensitivity, point.specificity


def test_operating_points_keep_their_promise() -> None:
    one = scored(4000)
    points = operating_points(one.pneumonia, one.p, load_recipe("nightread").calibrate)
    screen, balanced, rule_in = points["screen"], points["balanced"], points["rule-in"]
    assert 0.98 <= measured(screen)[0] < 0.981
    assert 0.95 <= measured(rule_in)[1] < 0.951
    youden = {name: sum(measured(point)) for name, point in points.items()}
    assert youden["balanced"] == max(youden.values())
    assert screen.threshold < balanced.threshold < rule_in.threshold
    assert (balanced.band_low, balanced.band_high) == (screen.threshold, rule_in.threshold)
    assert screen.band_low == screen.threshold
    assert rule_in.band_high == rule_in.threshold
    assert balanced.flagged_share == pytest.approx((one.p >= rule_in.threshold).mean())


def test_the_three_points_keep_their_order_however_good_the_model_is() -> None:
    for sharpness in (0.2, 1.5, 3.0):
        one = scored(2000, seed=4)
        rng = np.random.default_rng(9)
        p = 1 / (1 + np.exp(-np.where(one.pneumonia, sharpness, -sharpness) - rng.standard_normal(2000)))
        better = Scored(one.pneumonia, p, one.subtype, one.predicted, one.patient)
        points = operating_points(better.pneumonia, better.p, load_recipe("nightread").calibrate)
        thresholds = [points[name].threshold for name in ("screen", "balanced", "rule-in")]
        assert thresholds == sorted(thresholds)


@pytest.mark.parametrize("sharpness", [20.0, 0.0001])
def test_operating_points_exist_for_perfect_and_for_useless_models(sharpness: float) -> None:
    one = scored(300, sharpness=sharpness)
    if sharpness > 1:
        p = np.where(one.pneumonia, 0.8, 0.2)
        one = Scored(one.pneumonia, p, one.subtype, one.predicted, one.patient)
    points = operating_points(one.pneumonia, one.p, load_recipe("nightread").calibrate)
    assert len(points) == 3


def test_the_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal((4000, 3)) * 2
    powers = np.exp(logits)
    drawn = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1) > rng.random((4000, 1))
    targets = np.eye(3, dtype=np.float32)[drawn.argmax(axis=1)]
    assert temperature(logits * 3, targets) == pytest.approx(3, rel=0.1)
    assert temperature(logits / 2, targets) == pytest.approx(0.5, rel=0.1)
