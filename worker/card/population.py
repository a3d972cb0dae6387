"""The population of a model: for which ages its figures hold, and what happens to a patient of another age. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from worker.errors import RejectedImage

OutsidePolicy = Literal["score", "reject"]
UnknownAgePolicy = Literal["say", "outside", "reject"]


class Population(StrEnum):
    """Whether the figures of a model hold for the patient of an image."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AgeRange:
    """The youngest and the oldest age for which the figures hold, in completed years."""

    youngest: float
    oldest: float

    def __contains__(self, age_years: float) -> bool:
        """Return whether a patient of this age is in the range: up to the last day before the next birthday."""
        return self.youngest <= age_years < math.floor(self.oldest) + 1

    def __str__(self) -> str:
        """Return the range for people."""
        return f"{self.youngest:g} to {self.oldest:g} years"


@dataclass(frozen=True)
class PopulationCheck:
    """Checks patients against the ages of a model.

    Attributes:
        ages: of the model's card; None: the card states none, and nobody is checked.
        outside: `score`: a patient outside is scored, and never clear; `reject`: is not scored.
        unknown: `say`: an unknown age changes no verdict; `outside`: it counts as outside; `reject`: it is not scored.
    """

    ages: AgeRange | None
    outside: OutsidePolicy = "score"
    unknown: UnknownAgePolicy = "say"

    def check(self, age_years: float | None) -> Population | None:
        """Return where a patient of this age stands; None if the card states no ages.

        Raises:
            RejectedImage: the image must not be scored.
        """
        if self.ages is None:
            return None
        if age_years is None:
            return self._unknown(self.ages)
        return Population.INSIDE if age_years in self.ages else self._outside(self.ages, "outside_population")

    def _unknown(self, ages: AgeRange) -> Population:
        if self.unknown == "reject":
            raise RejectedImage("unknown_age", ages=ages)
        return self._outside(ages, "unknown_age") if self.unknown == "outside" else Population.UNKNOWN

    def _outside(self, ages: AgeRange, code: str) -> Population:
        # The sentence does not name the patient's age: its hash stands in the audit trail for ever.
        if self.outside == "reject":
            raise RejectedImage(code, ages=ages)
        return Population.OUTSIDE
