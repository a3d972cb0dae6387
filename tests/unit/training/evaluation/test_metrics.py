"""training.evaluation.metrics, ranking, exact and shares: compared with scikit-learn, DeLong and manual sums."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from training.evaluation import exact
from training.evaluation.metrics import (
    LabelledScores,
    Resample,
    auc,
    confusion,
    error_by_chance,
    measure,
    resamples,
    with_intervals,
)
from training.evaluation.ranking import Ranking, equal_mass_bins, expected_calibration_error
from training.evaluation.shares import shares


def scored(
    n: int = 400, seed: int = 0, images_per_patient: int = 1, sharpness: float = 1.5
) -> LabelledScores:
    rng = np.random.default_rng(seed)
    subtype = rng.integers(0, 3, n)
    pneumonia = subtype > 0
    p = 1 / (1 + np.exp(-sharpness * (np.where(pneumonia, 1, -1) + rng.standard_normal(n))))
    predicted = np.where(rng.random(n) < 0.8, subtype, rng.integers(0, 3, n))
    return LabelledScores(pneumonia, p, subtype, predicted, np.arange(n) // images_per_patient)


def with_ties(one: LabelledScores) -> LabelledScores:
    return LabelledScores(one.pneumonia, np.round(one.p, 1), one.subtype, one.predicted, one.patient)


def ranking_of(pneumonia: NDArray[np.bool_], p: NDArray[np.float64]) -> Ranking:
    return Ranking.of(pneumonia, p, np.ones(len(p), dtype=np.int64))


def of_scikit_learn(one: LabelledScores, threshold: float) -> dict[str, float]:
    """Compute the metrics with scikit-learn."""
    called = one.p >= threshold
    false_alarms, sensitivity, _ = sk.roc_curve(one.pneumonia, one.p, drop_intermediate=False)
    near = 1e-12  # 0.1 may be slightly larger in floating point
    return {
        "auc": sk.roc_auc_score(one.pneumonia, one.p),
        "accuracy": sk.accuracy_score(one.pneumonia, called),
        "precision": sk.precision_score(one.pneumonia, called),
        "recall": sk.recall_score(one.pneumonia, called),
        "specificity": sk.recall_score(~one.pneumonia, ~called),
        "f1": sk.f1_score(one.pneumonia, called),
        "brier": sk.brier_score_loss(one.pneumonia, one.p),
        "sensitivity_at_specificity_90": sensitivity[false_alarms <= 0.1 + near].max(),
        "specificity_at_sensitivity_95": 1 - false_alarms[sensitivity >= 0.95 - near].min(),
        "three_class_accuracy": sk.accuracy_score(one.subtype, one.predicted),
    }


def calibration_error_by_hand(one: LabelledScores) -> float:
    order = np.argsort(one.p, kind="stable")
    bins = np.array_split(order, 15)
    return float(sum(abs(one.p[b].mean() - one.pneumonia[b].mean()) * len(b) for b in bins) / len(one))


def listed(sample: Resample) -> LabelledScores:
    """Return a resample with each image repeated as often as it was drawn."""
    return LabelledScores(
        *(getattr(sample, name) for name in LabelledScores.__dataclass_fields__)
    ).at(np.repeat(np.arange(len(sample)), sample.weight))  # fmt: skip


@pytest.mark.parametrize("tied", [False, True])
def test_metrics_equal_those_of_scikit_learn(tied: bool) -> None:
    one = with_ties(scored()) if tied else scored()
    found = measure(one, 0.4)
    for name, value in of_scikit_learn(one, 0.4).items():
        assert found[name] == pytest.approx(value), name
    if not tied:
        assert found["ece"] == pytest.approx(calibration_error_by_hand(one))
    tn, fp, fn, tp = sk.confusion_matrix(one.pneumonia, one.p >= 0.4).ravel()
    assert list(confusion(one, 0.4).values()) == [tp, fn, fp, tn]


@pytest.mark.parametrize("tied", [False, True])
def test_weighted_resample_equals_repeated_images(tied: bool) -> None:
    """The bootstrap uses weights instead of repeated images."""
    one = scored(90, images_per_patient=3)
    for sample in resamples(with_ties(one) if tied else one, 25, 5):
        assert sample.counts.sum() % 3 == 0
        found, expected = measure(sample, 0.4), of_scikit_learn(listed(sample), 0.4)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value), name
        if not tied:
            assert found["ece"] == pytest.approx(calibration_error_by_hand(listed(sample)))


def test_bootstrap_draws_whole_patients() -> None:
    one = scored(60, images_per_patient=4)
    for sample in resamples(one, 20, 1):
        for patient in range(15):
            assert len(set(sample.weight[sample.patient == patient])) == 1
        assert sample.weight[np.unique(sample.patient, return_index=True)[1]].sum() == 15


def test_auc_intervals_agree_with_delong() -> None:
    """With one image a patient, DeLong's variance (Biometrics 44, 1988) is valid too."""
    one = scored(600, seed=3, sharpness=1.0)
    sick, well = one.p[one.pneumonia], one.p[~one.pneumonia]
    wins = (sick[:, None] > well).astype(float)
    variance = wins.mean(axis=1).var(ddof=1) / len(sick) + wins.mean(axis=0).var(ddof=1) / len(well)
    low, high = with_intervals(one, 0.5, 1000, 11)["auc_ci"]
    middle, half = wins.mean(), 1.96 * np.sqrt(variance)
    assert high - low == pytest.approx(2 * half, rel=0.08)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.2 * half)


def test_interval_of_a_share_agrees_with_the_binomial_one() -> None:
    one = scored(500, seed=8)
    low, high = with_intervals(one, 0.5, 2000, 2)["accuracy_ci"]
    value = measure(one, 0.5)["accuracy"]
    assert value is not None
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(value * (1 - value) / 500), rel=0.1)


def test_five_thousand_images_take_seconds() -> None:
    one = scored(5000, images_per_patient=2)
    started = time.process_time()
    with_intervals(one, 0.5, 1000, 1)
    assert time.process_time() - started < 5


def test_ties_count_half() -> None:
    assert auc(np.array([True, False]), np.array([0.5, 0.5])) == 0.5
    assert auc(np.array([True, True, False]), np.array([0.5, 0.9, 0.5])) == 0.75


def test_curve_points_compare_exact_integers() -> None:
    """63 of 70 is 90 %, although 0.9 * 70 exceeds 63 in floating point."""
    p = np.concatenate([np.linspace(0.1, 0.2, 63), np.full(7, 0.6), [0.3] * 20, [0.7] * 20])
    pneumonia = np.arange(110) >= 70
    found = measure(LabelledScores(pneumonia, p, pneumonia * 1, pneumonia * 1, np.arange(110)), 0.5)
    assert found["sensitivity_at_specificity_90"] == 1.0
    assert found["specificity_at_sensitivity_95"] == 0.9


def test_undefined_metrics_are_none() -> None:
    sick = scored().at(scored().pneumonia)
    found = with_intervals(sick, 0.5, repeats=20, seed=1)
    assert found["auc"] is None
    assert found["auc_ci"] == [None, None]
    assert found["specificity"] is None
    assert found["recall"] is not None
    unknown = LabelledScores(sick.pneumonia, sick.p, np.full(len(sick), -1), sick.predicted, sick.patient)
    assert measure(unknown, 0.5)["three_class_accuracy"] is None


def test_resamples_without_a_class_are_left_out() -> None:
    """Every third resample lacks the one healthy patient among twelve."""
    pneumonia = np.arange(12) > 0
    p = np.linspace(0.1, 0.9, 12)
    lonely = LabelledScores(pneumonia, p, pneumonia * 1, pneumonia * 1, np.arange(12))
    drawn = [measure(sample, 0.5)["auc"] for sample in resamples(lonely, 300, 1)]
    assert 60 < drawn.count(None) < 150
    found = with_intervals(lonely, 0.5, 300, 1)
    assert found["specificity"] == 1.0
    assert found["specificity_ci"] == [pytest.approx(0.025), 1.0]


def test_perfect_result_has_an_interval() -> None:
    """Clopper and Pearson give 0.884 to 1 for 30 of 30 patients."""
    pneumonia = np.arange(60) % 2 == 0
    p = np.where(pneumonia, 0.9, 0.1) + np.linspace(0, 0.05, 60)
    perfect = LabelledScores(pneumonia, p, pneumonia * 1, pneumonia * 1, np.arange(60))
    found = with_intervals(perfect, 0.5, 200, 1)
    for name in ("recall", "specificity", "precision"):
        assert found[f"{name}_ci"] == [pytest.approx(0.025 ** (1 / 30)), 1.0]
    assert found["accuracy_ci"] == [pytest.approx(0.025 ** (1 / 60)), 1.0]
    assert 0.9 < found["f1_ci"][0] < 0.97
    assert 0.95 < found["auc_ci"][0] < 0.98
    images = perfect.at(np.repeat(np.arange(60), 10))
    assert with_intervals(images, 0.5, 200, 1)["recall_ci"] == found["recall_ci"]


def test_one_error_does_not_raise_the_lower_limit() -> None:
    limits = []
    for wrong in range(4):
        pneumonia = np.ones(30, dtype=bool)
        p = np.where(np.arange(30) < wrong, 0.1, 0.9)
        one = LabelledScores(pneumonia, p, pneumonia * 1, pneumonia * 1, np.arange(30))
        limits.append(with_intervals(one, 0.5, 1000, 1)["recall_ci"][0])
    assert limits == sorted(limits, reverse=True)


def test_auc_limit_gives_no_error_once_in_forty() -> None:
    least, most = exact.auc(20, 20)
    assert most == 1 - least
    rng = np.random.default_rng(1)
    hazard = 1 / least - 1
    largest = rng.exponential(size=(20_000, 20)).max(axis=1)
    smallest = rng.exponential(1 / hazard, size=(20_000, 20)).min(axis=1)
    assert (smallest > largest).mean() == pytest.approx(0.025, abs=0.004)
    assert exact.auc(0, 20) == (0.0, 1.0)
    assert exact.auc(30, 200) == exact.auc(200, 30)


def test_calibration_error_equals_a_manual_calculation() -> None:
    p = np.repeat([0.1, 0.9], 150)
    pneumonia = np.concatenate([np.arange(150) % 5 == 0, np.arange(150) % 10 != 0])
    # The first half scores 0.1 and 20 % have pneumonia; the second scores 0.9 and 90 % have it. The bin in the
    # middle, of 20 images, holds ten of each half.
    assert expected_calibration_error(ranking_of(pneumonia, p)) == pytest.approx(0.05)
    thirty = ranking_of(np.ones(30, dtype=bool), np.full(30, 0.25))
    assert expected_calibration_error(thirty) == pytest.approx(0.75)


def test_file_order_has_no_effect() -> None:
    one = with_ties(scored())
    turned = one.at(np.arange(len(one))[::-1])
    assert measure(one, 0.4) == pytest.approx(measure(turned, 0.4), abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 15, 40])
def test_bins_have_equal_mass_and_all_images(n: int) -> None:
    one = scored(n)
    bins = equal_mass_bins(one.ranking)
    assert bins.count.sum() == n
    assert bins.count.max() - bins.count.min() <= 1
    assert (bins.p * bins.count).sum() == pytest.approx(one.p.sum())
    assert (bins.share * bins.count).sum() == pytest.approx(one.pneumonia.sum())


def test_chance_error_matches_a_calibrated_model() -> None:
    rng = np.random.default_rng(4)
    p = rng.random(900)
    pneumonia = rng.random(900) < p
    honest = LabelledScores(pneumonia, p, pneumonia * 1, pneumonia * 1, np.arange(900))
    found = measure(honest, 0.5)["ece"]
    assert found == pytest.approx(error_by_chance(honest, 1), rel=0.35)
    low, high = with_intervals(honest, 0.5, 300, 1)["ece_ci"]
    assert found is not None
    # Uncorrected percentiles would lie far above the error.
    assert (low + high) / 2 == pytest.approx(found, abs=0.15 * (high - low))
    overdone = LabelledScores(pneumonia, p**0.3, pneumonia * 1, pneumonia * 1, np.arange(900))
    far = measure(overdone, 0.5)["ece"]
    assert far is not None
    assert far > 4 * error_by_chance(overdone, 1)


def test_interval_contains_its_metric_and_is_reproducible() -> None:
    found = with_intervals(scored(), 0.5, repeats=200, seed=7)
    assert found == with_intervals(scored(), 0.5, repeats=200, seed=7)
    assert found["auc_ci"] != with_intervals(scored(), 0.5, repeats=200, seed=8)["auc_ci"]
    for name in measure(scored(), 0.5):
        low, high = found[f"{name}_ci"]
        assert low < found[name] < high


def test_copies_of_images_do_not_narrow_intervals() -> None:
    """Ten copies of each image are no more evidence than one."""
    alone = scored(80)
    copies = alone.at(np.repeat(np.arange(80), 10))
    as_strangers = LabelledScores(
        copies.pneumonia, copies.p, copies.subtype, copies.predicted, np.arange(800)
    )

    def width(one: LabelledScores) -> float:
        low, high = with_intervals(one, 0.5, 300, 3)["accuracy_ci"]
        return float(high - low)

    assert width(copies) == pytest.approx(width(alone), rel=0.05)
    assert width(as_strangers) < 0.5 * width(copies)


def test_shares_equal_the_metrics() -> None:
    one = scored(200, images_per_patient=2)
    called = one.p >= 0.4
    masks: dict[str, Any] = {
        "recall": (called, one.pneumonia),
        "specificity": (~called, ~one.pneumonia),
        "of nobody": (called, np.zeros(200, dtype=bool)),
    }
    found, expected = shares(one, masks, 300, 9), with_intervals(one, 0.4, 300, 9)
    for name in ("recall", "specificity"):
        share = found[name]
        assert share.value == pytest.approx(expected[name])
        assert [share.low, share.high] == pytest.approx(expected[f"{name}_ci"])
        assert share.drawn.shape == (300,)
    assert np.isnan(found["of nobody"].value)
