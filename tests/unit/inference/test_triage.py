"""worker.inference.triage: the edges of a band, and scores that are not probabilities."""

from __future__ import annotations

import math

import pytest

from worker.inference.triage import OperatingPoint, Verdict, confidence, triage

POINT = OperatingPoint("balanced", threshold=0.5, band_low=0.25, band_high=0.75)


@pytest.mark.parametrize(
    ("p", "verdict"),
    [
        (0.0, Verdict.CLEAR),
        (math.nextafter(0.25, 0), Verdict.CLEAR),
        (0.25, Verdict.UNCERTAIN),
        (0.5, Verdict.UNCERTAIN),
        (math.nextafter(0.75, 0), Verdict.UNCERTAIN),
        (0.75, Verdict.FLAGGED),
        (1.0, Verdict.FLAGGED),
    ],
)
def test_a_band_includes_its_lower_edge_only(p: float, verdict: Verdict) -> None:
    assert triage(p, POINT) is verdict


def test_without_a_band_the_threshold_is_flagged() -> None:
    point = OperatingPoint("sharp", 0.5, 0.5, 0.5)
    assert triage(0.5, point) is Verdict.FLAGGED
    assert triage(math.nextafter(0.5, 0), point) is Verdict.CLEAR


@pytest.mark.parametrize("p", [math.nan, -0.001, 1.001, math.inf, -math.inf])
def test_a_score_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        triage(p, POINT)
    with pytest.raises(ValueError, match="probability"):
        confidence(p)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (0.2, 0.8), (0.5, 0.5), (0.9, 0.9), (1.0, 1.0)])
def test_confidence_is_that_of_the_likelier_side(p: float, expected: float) -> None:
    assert confidence(p) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bounds", [(0.5, 0.6, 0.7), (0.5, 0.3, 0.4), (0.5, -0.1, 0.7), (0.5, 0.3, 1.1), (math.nan, 0.0, 1.0)]
)
def test_a_band_without_its_threshold_is_refused(bounds: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="'odd'"):
        OperatingPoint("odd", *bounds)


def test_verdicts_are_stored_as_words() -> None:
    assert [str(verdict) for verdict in Verdict] == ["flagged", "uncertain", "clear"]


@pytest.mark.parametrize("p", [0.0, 0.04, 0.06, 0.39, 0.4, 0.6])
def test_film_that_was_cut_out_is_clear_only_well_below_the_band(p: float) -> None:
    point = OperatingPoint("balanced", 0.5, 0.4, 0.6)
    expected = Verdict.CLEAR if p < 0.05 else Verdict.UNCERTAIN if p < 0.6 else Verdict.FLAGGED
    assert triage(p, point, cropped=True) is expected
