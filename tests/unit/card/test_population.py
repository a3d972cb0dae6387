"""worker.card.population: whose patients the figures of a model hold for, and what happens to the others."""

from __future__ import annotations

import math

import pytest

from worker.card.population import (
    AgeRange,
    OutsidePolicy,
    Population,
    PopulationCheck,
    UnknownAgePolicy,
)
from worker.config import Settings
from worker.errors import RejectedImage

CHILDREN = AgeRange(1, 5)


@pytest.mark.parametrize("age", [1, 1.0, 3.5, 5, 5.99])
def test_age_inside_the_range_is_inside(age: float) -> None:
    assert PopulationCheck(CHILDREN, "reject", "reject").check(age) is Population.INSIDE


@pytest.mark.parametrize("age", [0, 0.99, 6, 18, 120, math.nan, math.inf, -1])
def test_other_age_is_outside(age: float) -> None:
    assert PopulationCheck(CHILDREN).check(age) is Population.OUTSIDE


@pytest.mark.parametrize(
    ("age", "outside", "unknown", "answer"),
    [
        (40, "score", "say", "outside"),
        (40, "score", "outside", "outside"),
        (40, "score", "reject", "outside"),
        (40, "reject", "say", "outside_population"),
        (40, "reject", "outside", "outside_population"),
        (40, "reject", "reject", "outside_population"),
        (None, "score", "say", "unknown"),
        (None, "score", "outside", "outside"),
        (None, "score", "reject", "unknown_age"),
        (None, "reject", "say", "unknown"),
        (None, "reject", "outside", "unknown_age"),
        (None, "reject", "reject", "unknown_age"),
    ],
)
def test_settings_decide_what_happens_to_a_patient(
    age: float | None, outside: OutsidePolicy, unknown: UnknownAgePolicy, answer: str
) -> None:
    check = PopulationCheck(CHILDREN, outside, unknown)
    if answer in set(Population):
        assert check.check(age) == answer
    else:
        with pytest.raises(RejectedImage, match="1 to 5 years") as rejected:
            check.check(age)
        assert rejected.value.code == answer
        assert "40" not in rejected.value.sentence, "the hash of the sentence stands in the audit trail"


@pytest.mark.parametrize("age", [None, 3, 40])
def test_without_ages_on_the_card_nobody_is_checked(age: float | None) -> None:
    assert PopulationCheck(None, "reject", "reject").check(age) is None


def test_range_reads_as_years() -> None:
    assert (str(CHILDREN), str(AgeRange(0.5, 17))) == ("1 to 5 years", "0.5 to 17 years")


def test_settings_offer_these_choices_by_default() -> None:
    settings = Settings()
    assert (settings.outside_population, settings.unknown_age) == ("score", "say")
