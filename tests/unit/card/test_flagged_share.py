"""The share of flagged images, compared with what the model card expects."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import pytest

from worker.card.flagged_share import FAR, prevalence_of, two_sided, unexpected_share
from worker.card.reading import Point

POINT = Point("balanced", True, 0.6, 0.4, 0.6, sensitivity=0.9, specificity=0.8, flagged_share=0.55)


def exact(count: int, total: int, share: float) -> float:
    """Return twice the smaller tail, from whole numbers."""
    chances = [comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(total + 1)]
    return min(1.0, 2 * min(sum(chances[: count + 1]), sum(chances[count:])))


@pytest.mark.parametrize("total", [1, 7, 40])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.66])
def test_probability_is_the_exact_binomial_one(total: int, share: float) -> None:
    for count in range(total + 1):
        assert two_sided(count, total, share) == pytest.approx(exact(count, total, share), rel=1e-9)


def test_million_images_take_no_time_and_no_overflow() -> None:
    assert two_sided(550_000, 1_000_000, 0.55) == pytest.approx(1, abs=0.01)
    assert two_sided(900_000, 1_000_000, 0.55) == 0
    assert two_sided(0, 1_000_000, 0.55) == 0


@pytest.mark.parametrize(
    ("flagged", "scored"), [(0, 0), (0, 5), (5, 5), (55, 100), (45, 100), (64, 100), (540_000, 10**6)]
)
def test_expected_share_says_nothing(flagged: int, scored: int) -> None:
    assert unexpected_share(flagged, scored, POINT) is None


def test_far_share_says_which_prevalence_it_fits() -> None:
    assert unexpected_share(270, 1_000, POINT) == (
        "270 of 1000 scored images are flagged (27%). The model card expects 55% with the patients that it was measured "
        "on. It fits if 10% of these patients have pneumonia; of the patients of the card, 50% had it. If that is not so "
        "here, the model does not know such images."
    )


@pytest.mark.parametrize("flagged", [50, 980])
def test_share_that_no_prevalence_explains_says_so(flagged: int) -> None:
    assert "no share of patients with pneumonia explains this" in (
        unexpected_share(flagged, 1_000, POINT) or ""
    )


def test_point_without_figures_says_only_the_shares() -> None:
    for point in (replace(POINT, sensitivity=None), replace(POINT, threshold=0.5)):
        told = unexpected_share(100, 1_000, point)
        assert told is not None
        assert told.endswith("measured on.")
    assert unexpected_share(100, 1_000, replace(POINT, flagged_share=None)) is None


def test_small_difference_is_not_far_however_many_images() -> None:
    near = round(1_000_000 * (0.55 - FAR + 0.001))
    assert two_sided(near, 1_000_000, 0.55) == pytest.approx(0)
    assert unexpected_share(near, 1_000_000, POINT) is None


def test_prevalence_is_that_of_rogan_and_gladen() -> None:
    assert prevalence_of(0.55, POINT) == pytest.approx(0.5)
    assert prevalence_of(0.2, POINT) == pytest.approx(0)
    assert prevalence_of(0.9, POINT) == pytest.approx(1)
