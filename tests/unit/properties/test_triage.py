"""worker.inference.triage: properties of every score and every operating point."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.inference.triage import OperatingPoint, Verdict, confidence, triage

PROBABILITIES = st.floats(0, 1)
ORDER = [Verdict.CLEAR, Verdict.UNCERTAIN, Verdict.FLAGGED]


def point(low: float, threshold: float, high: float) -> OperatingPoint:
    return OperatingPoint("any", threshold, low, high)


POINTS = st.lists(PROBABILITIES, min_size=3, max_size=3).map(lambda edges: point(*sorted(edges)))


@given(POINTS, PROBABILITIES, PROBABILITIES)
def test_a_higher_score_has_no_lower_verdict(at: OperatingPoint, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert ORDER.index(triage(low, at)) <= ORDER.index(triage(high, at))


@given(POINTS)
@example(point(0, 0, 0))
@example(point(0, 0.5, 1))
@example(point(1, 1, 1))
def test_each_edge_belongs_to_the_verdict_above_it(at: OperatingPoint) -> None:
    assert triage(at.band_high, at) is Verdict.FLAGGED
    if at.band_low < at.band_high:
        assert triage(at.band_low, at) is Verdict.UNCERTAIN
    if at.band_low > 0:
        assert triage(math.nextafter(at.band_low, 0), at) is Verdict.CLEAR
    if at.band_high > 0:
        assert triage(math.nextafter(at.band_high, 0), at) is not Verdict.FLAGGED


@given(POINTS, PROBABILITIES, st.booleans())
@example(point(0.5, 0.5, 0.5), 0.0, False)
def test_a_patient_outside_the_population_is_flagged_alike_and_never_clear(
    at: OperatingPoint, p: float, cropped: bool
) -> None:
    verdict = triage(p, at, cropped=cropped, never_clear=True)
    assert verdict is not Verdict.CLEAR
    assert (verdict is Verdict.FLAGGED) == (triage(p, at) is Verdict.FLAGGED)


@given(st.floats(), st.floats(), st.floats())
@example(0.0, 0.0, 0.0)
@example(1.0, 1.0, 1.0)
@example(math.nan, 0.5, 1.0)
def test_a_point_is_valid_when_its_band_contains_the_threshold(
    low: float, middle: float, high: float
) -> None:
    if 0 <= low <= middle <= high <= 1:
        assert point(low, middle, high).threshold == middle
    else:
        with pytest.raises(ValueError, match="operating point 'any'"):
            point(low, middle, high)


@given(PROBABILITIES)
def test_confidence_is_that_of_the_more_likely_side(p: float) -> None:
    assert 0.5 <= confidence(p) <= 1
    assert confidence(p) == pytest.approx(confidence(1 - p))
    assert confidence(p) >= p


@given(st.floats().filter(lambda p: not 0 <= p <= 1))
def test_a_number_outside_0_to_1_is_not_a_score(p: float) -> None:
    for function in (confidence, lambda score: triage(score, point(0, 0.5, 1))):
        with pytest.raises(ValueError, match=r"must be in 0\.\.1, got"):
            function(p)
