"""worker.report.paired: two models on the same images, with weights for the sample of clear ones."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from worker.report import paired
from worker.report.paired import Compared, Pair, PairedFigures, Stratum, compare

SHOWN, SAMPLE = Stratum.SHOWN, Stratum.SAMPLE


def pairs(stratum: Stratum, number: int, *, signs: bool, a: bool, b: bool) -> list[Pair]:
    return number * [Pair(stratum, signs, a, b)]


def test_sample_counts_with_its_weight() -> None:
    read = [
        *pairs(SHOWN, 30, signs=True, a=True, b=True),
        *pairs(SHOWN, 6, signs=True, a=True, b=False),
        *pairs(SHOWN, 14, signs=False, a=True, b=False),
        *pairs(SAMPLE, 1, signs=True, a=False, b=True),
        *pairs(SAMPLE, 19, signs=False, a=False, b=False),
    ]
    # Each image of the sample stands for ten.
    figures = compare(read, shown=50, clear=200)
    assert figures.sensitivity.a.value == pytest.approx(36 / 46)
    assert figures.sensitivity.b.value == pytest.approx(40 / 46)
    assert figures.sensitivity.difference.value == pytest.approx(4 / 46)
    assert figures.specificity.a.value == pytest.approx(190 / 204)
    assert figures.specificity.b.value == 1.0
    assert (figures.sensitivity.images, figures.sensitivity.only_a, figures.sensitivity.only_b) == (37, 6, 1)
    assert (figures.specificity.images, figures.specificity.only_a, figures.specificity.only_b) == (33, 0, 14)
    for found in (figures.sensitivity, figures.specificity):
        for estimate in (found.a, found.b, found.difference):
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.value is not None
            assert estimate.low <= estimate.value <= estimate.high


def test_same_images_give_the_same_figures() -> None:
    read = [*pairs(SHOWN, 9, signs=True, a=True, b=True), *pairs(SAMPLE, 9, signs=False, a=False, b=True)]
    assert compare(read, 9, 90) == compare(read, 9, 90)


def test_models_that_agree_everywhere_differ_by_little() -> None:
    read = [
        *pairs(SHOWN, 100, signs=True, a=True, b=True),
        *pairs(SAMPLE, 100, signs=False, a=False, b=False),
    ]
    difference = compare(read, 100, 100).sensitivity.difference
    assert difference.value == 0.0
    assert difference.low is not None
    assert difference.high is not None
    assert -0.05 < difference.low < 0.0 < difference.high < 0.05


def not_known(found: Compared) -> list[str]:
    assert found.a.value is None
    assert found.b.value is None
    assert found.difference.value is None
    return [found.a.why_not, found.b.why_not, found.difference.why_not]


def test_without_a_sample_nothing_is_known() -> None:
    read = pairs(SHOWN, 100, signs=True, a=True, b=False)
    figures = compare(read, 100, 900)
    for found in (figures.sensitivity, figures.specificity):
        assert all(sentence.startswith("No clear image of a random sample") for sentence in not_known(found))
    assert figures.sensitivity.only_a == 100


def test_sample_alone_and_no_image_at_all_are_not_enough() -> None:
    sample = pairs(SAMPLE, 20, signs=False, a=False, b=False)
    assert "No flagged" in not_known(compare(sample, 5, 100).specificity)[0]
    assert "No run" in not_known(compare([], 0, 0).specificity)[0]


def test_figure_without_an_image_of_its_kind_is_not_known() -> None:
    read = [
        *pairs(SHOWN, 10, signs=False, a=True, b=False),
        *pairs(SAMPLE, 10, signs=False, a=False, b=False),
    ]
    figures = compare(read, 10, 100)
    assert "No image with signs" in not_known(figures.sensitivity)[0]
    assert figures.specificity.difference.value == pytest.approx(10 / 110)


def a_hospital(random: np.random.Generator, images: int, sampled: int) -> PairedFigures:
    """Draw a hospital in which b finds more than a (95 % and 90 %) and is wrong more often (30 % and 20 %)."""
    signs = random.random(images) < 0.1
    common = random.normal(size=images)
    quantile = NormalDist().inv_cdf

    def positive(sensitivity: float, specificity: float) -> np.ndarray:
        own = 0.8 * common + 0.6 * random.normal(size=images)
        return np.where(signs, own < quantile(sensitivity), own < quantile(1 - specificity))

    a, b = positive(0.9, 0.8), positive(0.95, 0.7)
    drawn = random.choice(np.flatnonzero(~a), sampled, replace=False)
    shown = [Pair(SHOWN, bool(signs[n]), True, bool(b[n])) for n in np.flatnonzero(a)]
    sample = [Pair(SAMPLE, bool(signs[n]), False, bool(b[n])) for n in drawn]
    return compare([*shown, *sample], len(shown), int((~a).sum()))


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "_RESAMPLES", 2_000)
    random = np.random.default_rng(7)
    hospitals = [a_hospital(random, 2_000, 100) for _ in range(200)]
    truths = {
        "sensitivity": (0.9, 0.95, 0.05),
        "specificity": (0.8, 0.7, -0.1),
    }
    for name, truth in truths.items():
        found = [getattr(hospital, name) for hospital in hospitals]
        for index, estimates in enumerate(
            zip(*((one.a, one.b, one.difference) for one in found), strict=True)
        ):
            covered = sum(one.low <= truth[index] <= one.high for one in estimates)
            # Of 200 intervals of 95 %, fewer than 180 cover the truth once in a thousand times.
            assert covered >= 180, (name, index)
