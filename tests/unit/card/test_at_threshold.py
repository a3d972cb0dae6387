"""worker.card.at_threshold: what a card's curves say about any threshold."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest

from tests.cards import a_card
from worker.card.at_threshold import Range, at_threshold
from worker.card.reading import read_card

# Threshold, sensitivity and specificity of each point.
CURVE = [(0.9, 0.2, 1.0), (0.6, 0.5, 0.9), (0.4, 0.8, 0.7), (0.1, 1.0, 0.1)]


def card_with(curve: list[tuple[float, float, float]] = CURVE) -> Any:
    names = ("threshold", "sensitivity", "specificity")
    roc = {name: list(column) for name, column in zip(names, zip(*curve, strict=True), strict=True)}
    return read_card({"curves": {"children": {"roc": roc}}})


def test_figures_lie_between_the_points_beside_the_threshold() -> None:
    (found,) = at_threshold(card_with(), 0.5, 0.5)
    assert (found.sensitivity, found.specificity) == (Range(0.5, 0.8), Range(0.7, 0.9))
    assert astuple(found.ppv) == pytest.approx((0.5 / 0.8, 0.8 / 0.9))
    assert astuple(found.npv) == pytest.approx((0.7 / 1.2, 0.9 / 1.1))


@pytest.mark.parametrize("threshold", [0.59997, 0.60003])
def test_threshold_beside_a_point_may_lie_on_either_side_of_it(threshold: float) -> None:
    """A card rounds its thresholds to four decimals."""
    (found,) = at_threshold(card_with(), threshold, 0.5)
    assert found.sensitivity == Range(0.2, 0.8)


@pytest.mark.parametrize(
    ("threshold", "sensitivity", "specificity"),
    [(1.0, Range(0.0, 0.2), Range(1.0, 1.0)), (0.0, Range(1.0, 1.0), Range(0.0, 0.1))],
)
def test_threshold_outside_the_curve_has_the_bounds_that_are_sure(
    threshold: float, sensitivity: Range, specificity: Range
) -> None:
    (found,) = at_threshold(card_with(), threshold, 0.5)
    assert (found.sensitivity, found.specificity) == (sensitivity, specificity)


def test_predictive_value_follows_the_prevalence() -> None:
    (rare,) = at_threshold(card_with(), 0.5, 0.01)
    (none,) = at_threshold(card_with(), 0.5, 0.0)
    assert rare.ppv.high
    assert rare.ppv.high < 0.08
    assert none.ppv == Range(0.0, 0.0)
    assert none.npv == Range(1.0, 1.0)


def test_value_of_nobody_is_undefined() -> None:
    """No image may be at or above a threshold of 1."""
    (found,) = at_threshold(card_with(), 1.0, 0.5)
    assert found.ppv == Range(None, 1.0)


def test_curve_without_thresholds_is_left_out() -> None:
    assert at_threshold(read_card({"curves": {"children": {"roc": {"sensitivity": [1.0]}}}}), 0.5, 0.5) == []
    assert at_threshold(read_card({}), 0.5, 0.5) == []


def test_point_of_the_card_lies_in_its_range() -> None:
    card = read_card(a_card())
    for point in card.operating_points.values():
        figures = {found.name: found for found in at_threshold(card, point.threshold, 0.5)}
        assert figures.keys() == card.curves.keys()
        for found in figures.values():
            assert found.sensitivity.low is not None
            assert found.sensitivity.high is not None
            assert 0 <= found.sensitivity.high - found.sensitivity.low < 0.2
