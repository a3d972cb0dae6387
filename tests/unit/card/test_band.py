"""worker.card.band: the limit that triage uses and the viewer draws."""

from __future__ import annotations

import math

import pytest

from worker.card.band import Bounds, clear_below, is_far, is_never_clear
from worker.inference.triage import OperatingPoint, Verdict, triage


@pytest.mark.parametrize("band_low", [0.0, 0.2, 0.35, 0.4, 0.6])
@pytest.mark.parametrize("cropped", [False, True])
def test_scores_below_the_limit_are_clear_and_no_others(band_low: float, cropped: bool) -> None:
    point = OperatingPoint("balanced", 0.7, band_low, 0.8)
    limit = clear_below(band_low, cropped=cropped)
    assert 0 <= limit <= band_low
    assert triage(limit, point, cropped=cropped) is Verdict.UNCERTAIN
    if limit:
        assert triage(math.nextafter(limit, 0), point, cropped=cropped) is Verdict.CLEAR


@pytest.mark.parametrize("cropped", [False, True])
def test_patient_outside_the_population_is_never_clear(cropped: bool) -> None:
    assert clear_below(0.9, cropped=cropped, never_clear=True) == 0


@pytest.mark.parametrize(
    ("population", "distance", "answer"),
    [
        (None, None, False),
        ("inside", 1.0, False),
        ("unknown", 0.0, False),
        ("inside", 1.000001, True),
        (None, 7.5, True),
        ("outside", None, True),
        ("outside", 0.2, True),
    ],
)
def test_image_is_never_clear_outside_the_population_or_beyond_the_limit(
    population: str | None, distance: float | None, answer: bool
) -> None:
    assert is_never_clear(population, distance) is answer
    assert is_far(distance) is (answer and population != "outside")


def test_film_that_was_cut_out_is_clear_later() -> None:
    assert clear_below(0.5, cropped=True) == pytest.approx(0.15)
    assert clear_below(0.3, cropped=True) == 0


def test_score_at_the_upper_end_is_flagged_and_a_patient_outside_is_never_clear() -> None:
    bounds = Bounds.of_band(0.4, 0.6)
    verdicts = [bounds.verdict(p, cropped=False, never_clear=False) for p in (0.6, 0.59, 0.4, 0.39)]
    assert verdicts == ["flagged", "uncertain", "uncertain", "clear"]
    assert bounds.verdict(0.0, cropped=False, never_clear=True) == "uncertain"
