"""Groups of images for which a site can put an operating point of their own in force. Pure.

The most specific group applies: ages before the source, and the source before the general point. Groups of ages never
overlap, so at most one applies. An image whose patient's age is not known is in no group of ages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from worker.ledger.states import Source

# A canary shows no patient, and of a recovered file nobody knows how it arrived.
SOURCES = (Source.FOLDER, Source.UPLOAD, Source.IMPORT, Source.DICOM)
OLDEST = 150
# The audit trail names the group of each image. An age in years would say too much of a patient.
FEWEST_YEARS = 5
_AGES = re.compile(r"age=(\d{1,3})-(\d{1,3})")
_SOURCE = "source="


@dataclass(frozen=True)
class Group:
    """Images of patients from `first` to `last` completed years of age, or images that arrived in one way.

    Raises ValueError, with a sentence, for a group that cannot be.
    """

    first: int | None = None
    last: int | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.first is None or self.last is None:
            if self.source not in SOURCES:
                raise ValueError(f"there is no group of this source; the sources are {', '.join(SOURCES)}")
        elif not 0 <= self.first <= self.last <= OLDEST:
            raise ValueError(f"the ages of a group must be from 0 to {OLDEST}, the lower one first")
        elif self.first > 0 and self.last - self.first + 1 < FEWEST_YEARS:
            raise ValueError(
                f"a group of ages has {FEWEST_YEARS} years or more, or begins at 0: the audit trail names the group"
            )

    @classmethod
    def parse(cls, text: str) -> Group:
        """Read what `key` wrote. Raises ValueError, with a sentence."""
        ages = _AGES.fullmatch(text)
        if ages:
            return cls(int(ages[1]), int(ages[2]))
        if text.startswith(_SOURCE):
            return cls(source=text.removeprefix(_SOURCE))
        raise ValueError("a group is written as age=18-64 or source=upload")

    @property
    def key(self) -> str:
        """The group as a command, the ledger and the audit trail write it."""
        return f"{_SOURCE}{self.source}" if self.is_source else f"age={self.first}-{self.last}"

    @property
    def title(self) -> str:
        """The group for people."""
        return f"source {self.source}" if self.is_source else f"ages {self.first} to {self.last}"

    @property
    def is_source(self) -> bool:
        """Whether the group is one of a source, not of ages."""
        return self.source is not None

    def has(self, traits: Traits) -> bool:
        """Return whether an image is in the group. A patient is in a year of age until the next birthday."""
        if self.first is None or self.last is None:
            return traits.source == self.source
        return traits.age_years is not None and self.first <= traits.age_years < self.last + 1

    def overlaps(self, other: Group) -> bool:
        """Return whether both are groups of ages, are not the same, and have an age in common."""
        if self == other or self.is_source or other.is_source:
            return False
        return (self.first or 0) <= (other.last or 0) and (other.first or 0) <= (self.last or 0)


@dataclass(frozen=True)
class Traits:
    """The facts that decide the group of an image: age of its patient, source of its first receipt; None: not known."""

    age_years: float | None = None
    source: str | None = None


def applying(groups: Iterable[Group], traits: Traits) -> Group | None:
    """Return the group whose point an image follows; None: the general point."""
    return min(
        (group for group in groups if group.has(traits)), key=lambda group: group.is_source, default=None
    )


def title_of(key: str | None) -> str:
    """Return the words for the group of an image; None: those for the general point."""
    return Group.parse(key).title if key else "all other images"
