"""webui.expected_counts: counts per 1,000 images add up to 1,000 and follow Bayes' rule."""

from __future__ import annotations

import copy

import pytest

from tests.cards import a_card
from webui.expected_counts import (
    ExpectedClear,
    ExpectedCounts,
    expected_clear,
    expected_counts,
    prevalence_per_cent,
)
from worker.card.reading import Point, read_card
from worker.card.schema import Card


def point(sensitivity: float | None, specificity: float | None) -> Point:
    return Point("mine", True, 0.5, 0.5, 0.5, sensitivity, specificity, None)


def test_counts_match_a_worked_example() -> None:
    counts = expected_counts(point(0.9, 0.91), 0.01)
    assert counts is not None
    assert (counts.true_positives, counts.false_negatives) == (9, 1)
    assert (counts.false_positives, counts.true_negatives) == (89, 901)
    assert counts.precision == pytest.approx(0.009 / (0.009 + 0.0891))
    assert counts.false_omission_rate == pytest.approx(0.001 / (0.001 + 0.9009))


@pytest.mark.parametrize("sensitivity", [0.0, 0.333, 0.985, 1.0])
@pytest.mark.parametrize("specificity", [0.0, 0.777, 0.95, 1.0])
@pytest.mark.parametrize("prevalence", [0.0, 0.0004, 0.123456, 0.5, 1.0])
def test_counts_add_up_to_one_thousand(sensitivity: float, specificity: float, prevalence: float) -> None:
    counts = expected_counts(point(sensitivity, specificity), prevalence)
    assert counts is not None
    with_pneumonia = (counts.true_positives, counts.false_negatives)
    without = (counts.false_positives, counts.true_negatives)
    assert sum((*with_pneumonia, *without)) == 1000
    assert min(*with_pneumonia, *without) >= 0
    assert sum(with_pneumonia) == round(1000 * prevalence)


def test_shares_are_none_without_positives_or_negatives() -> None:
    assert expected_counts(point(0.0, 1.0), 0.5) == ExpectedCounts(0, 500, 0, 500, None, 0.5)
    assert expected_counts(point(1.0, 0.0), 0.5) == ExpectedCounts(500, 0, 500, 0, 0.5, None)


def test_unmeasured_point_has_no_expected_counts() -> None:
    assert expected_counts(point(None, 0.9), 0.5) is None
    assert expected_counts(point(0.9, None), 0.5) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 10.0), ("  ", 10.0), ("5", 5.0), ("0,5", 0.5), (" 12.5 %", 12.5), ("0", 0.0), ("100", 100.0)],
)
def test_prevalence_is_read_with_point_comma_or_percent_sign(text: str, value: float) -> None:
    assert prevalence_per_cent(text) == value


@pytest.mark.parametrize("text", ["-1", "100.1", "ten", "nan", "inf", "1e9", "0x10", "1 2"])
def test_invalid_prevalence_raises(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        prevalence_per_cent(text)


def card_with(*points: tuple[float, float, float]) -> Card:
    """Return a card whose first curve has these thresholds, sensitivities and specificities."""
    card = copy.deepcopy(a_card())
    names = ("threshold", "sensitivity", "specificity")
    first = next(iter(card["curves"].values()))
    first["roc"] = dict(zip(names, map(list, zip(*points, strict=True)), strict=True))
    return read_card(card)


def test_clear_images_are_those_below_the_band_by_the_first_curve() -> None:
    card = card_with((0.9, 0.5, 0.99), (0.5, 0.9, 0.9), (0.1, 0.99, 0.6), (0.05, 1.0, 0.4))
    assert expected_clear(card, 0.1, 0.1) == ExpectedClear("Children", (0, 10), 100, (360, 810), 900)
    assert expected_clear(card, 0.3, 0.1) == ExpectedClear("Children", (1, 10), 100, (540, 810), 900)
    assert expected_clear(card, 0.01, 0.1) == ExpectedClear("Children", (0, 0), 100, (0, 360), 900)


def test_clear_images_of_one_class_only_are_counted() -> None:
    card = card_with((0.5, 0.9, 0.9), (0.1, 0.9, 0.9), (0.0, 1.0, 0.0))
    assert expected_clear(card, 0.3, 0.0) == ExpectedClear("Children", (0, 0), 0, (900, 900), 1000)
    assert expected_clear(card, 0.3, 1.0) == ExpectedClear("Children", (100, 100), 1000, (0, 0), 0)


def test_without_a_curve_nobody_knows_how_many_images_are_clear() -> None:
    assert expected_clear(read_card({**a_card(), "curves": {}}), 0.3, 0.1) is None
