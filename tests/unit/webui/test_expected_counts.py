"""Counts among 1,000 images: they add up, and agree with Bayes' rule."""

from __future__ import annotations

import pytest

from webui.expected_counts import Expected, expected, per_cent
from worker.card.reading import Point


def point(sensitivity: float | None, specificity: float | None) -> Point:
    return Point("mine", True, 0.5, 0.5, 0.5, sensitivity, specificity, None)


def test_the_textbook_example() -> None:
    found = expected(point(0.9, 0.91), 0.01)
    assert found is not None
    assert (found.found, found.missed, found.false_alarms, found.left_alone) == (9, 1, 89, 901)
    assert found.precision == pytest.approx(0.009 / (0.009 + 0.0891))
    assert found.missed_share == pytest.approx(0.001 / (0.001 + 0.9009))


@pytest.mark.parametrize("sensitivity", [0.0, 0.333, 0.985, 1.0])
@pytest.mark.parametrize("specificity", [0.0, 0.777, 0.95, 1.0])
@pytest.mark.parametrize("prevalence", [0.0, 0.0004, 0.123456, 0.5, 1.0])
def test_the_four_counts_are_a_thousand(sensitivity: float, specificity: float, prevalence: float) -> None:
    found = expected(point(sensitivity, specificity), prevalence)
    assert found is not None
    counts = (found.found, found.missed, found.false_alarms, found.left_alone)
    assert sum(counts) == 1000
    assert min(counts) >= 0
    assert found.found + found.missed == round(1000 * prevalence)


def test_where_nothing_is_called_there_is_no_share_of_it() -> None:
    assert expected(point(0.0, 1.0), 0.5) == Expected(0, 500, 0, 500, None, 0.5)
    assert expected(point(1.0, 0.0), 0.5) == Expected(500, 0, 500, 0, 0.5, None)


def test_without_measured_figures_nothing_is_expected() -> None:
    assert expected(point(None, 0.9), 0.5) is None
    assert expected(point(0.9, None), 0.5) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 10.0), ("  ", 10.0), ("5", 5.0), ("0,5", 0.5), (" 12.5 %", 12.5), ("0", 0.0), ("100", 100.0)],
)
def test_a_prevalence_is_read_as_people_write_it(text: str, value: float) -> None:
    assert per_cent(text) == value


@pytest.mark.parametrize("text", ["-1", "100.1", "ten", "nan", "inf", "1e9", "0x10", "1 2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        per_cent(text)
