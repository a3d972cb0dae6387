"""What is counted of a group of images on a day. Counts add up: a week is the sum of its days. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

BINS = 20
Bins = tuple[int, ...]
NO_BINS: Bins = (0,) * BINS


def bin_of(score: float) -> int:
    """Return the place, 0 to 19, of a score from 0 to 1 among twentieths. A score of 1 belongs to the last one."""
    return min(BINS - 1, int(score * BINS))


def bins_of(scores: Iterable[float]) -> Bins:
    """Count scores by twentieths."""
    bins = [0] * BINS
    for score in scores:
        bins[bin_of(score)] += 1
    return tuple(bins)


@dataclass(frozen=True)
class FindingCounts:
    """Final readings of images, by finding. What cannot be judged is evidence of nothing.

    Attributes:
        with_signs, without_signs, not_judged: images by the finding of their final reading.
    """

    with_signs: int = 0
    without_signs: int = 0
    not_judged: int = 0

    @property
    def judged(self) -> int:
        """The images that are evidence: with signs or without."""
        return self.with_signs + self.without_signs

    @property
    def read(self) -> int:
        """The images with a final reading."""
        return self.judged + self.not_judged

    def __add__(self, other: FindingCounts) -> FindingCounts:
        """Add the findings of other images."""
        return FindingCounts(
            self.with_signs + other.with_signs,
            self.without_signs + other.without_signs,
            self.not_judged + other.not_judged,
        )


@dataclass(frozen=True)
class Judged:
    """Images with a final reading, by score and finding, without those that cannot be judged.

    Attributes:
        with_signs, without_signs: images by twentieth of the score.
    """

    with_signs: Bins = NO_BINS
    without_signs: Bins = NO_BINS

    def __add__(self, other: Judged) -> Judged:
        """Add other images."""
        return Judged(_sum(self.with_signs, other.with_signs), _sum(self.without_signs, other.without_signs))


@dataclass(frozen=True)
class Sample:
    """The clear images of which one share was drawn at random.

    Attributes:
        clear: all of them, drawn or not.
        read: final readings of the drawn ones. Clear images that a person read without a draw are no random sample, and
            do not belong here, unless all others like them are read.
        unread: drawn ones without a final reading.
        by_score: those of `read` that were judged.
    """

    clear: int = 0
    read: FindingCounts = field(default_factory=FindingCounts)
    unread: int = 0
    by_score: Judged = field(default_factory=Judged)

    def __post_init__(self) -> None:
        """Check that the sample is a part of what it was drawn from."""
        if self.read.read + self.unread > self.clear:
            raise ValueError("the drawn images are a part of the clear ones")

    def __add__(self, other: Sample) -> Sample:
        """Add images of which the same share was drawn."""
        return Sample(
            self.clear + other.clear,
            self.read + other.read,
            self.unread + other.unread,
            self.by_score + other.by_score,
        )


@dataclass(frozen=True)
class Counts:
    """What is counted of a group of images.

    Attributes:
        scored: images with a score, by twentieth of the score.
        flagged, uncertain, clear: the same by verdict.
        rejected: images that were not scored, by code of the reason.
        flagged_read, uncertain_read: final readings of flagged and of uncertain images.
        to_read_unread: flagged and uncertain images without a final reading.
        to_read_by_score: those of `flagged_read` and `uncertain_read` that were judged.
        samples: clear images by the share of images like them that was drawn, as decimal text such as "0.05"; "1" also if all
            images like them are read since a re-triage.
        clear_read_undrawn: final readings of clear images that were not drawn. They count as overrides only.
        measured: images with a score of which the model said how far they are from its training data.
        far: images of `measured` beyond the limit.
    """

    scored: Bins = NO_BINS
    flagged: int = 0
    uncertain: int = 0
    clear: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    flagged_read: FindingCounts = field(default_factory=FindingCounts)
    uncertain_read: FindingCounts = field(default_factory=FindingCounts)
    to_read_unread: int = 0
    to_read_by_score: Judged = field(default_factory=Judged)
    samples: Mapping[str, Sample] = field(default_factory=dict)
    clear_read_undrawn: FindingCounts = field(default_factory=FindingCounts)
    measured: int = 0
    far: int = 0

    @classmethod
    def none(cls) -> Self:
        """Return the counts of no images."""
        return cls()

    @property
    def images(self) -> int:
        """The images with a score."""
        return sum(self.scored)

    @property
    def turned_away(self) -> int:
        """The rejected images."""
        return sum(self.rejected.values())

    @property
    def to_read(self) -> FindingCounts:
        """The final readings of flagged and uncertain images."""
        return self.flagged_read + self.uncertain_read

    @property
    def clear_read(self) -> FindingCounts:
        """The final readings of clear images, drawn or not."""
        return sum((sample.read for sample in self.samples.values()), self.clear_read_undrawn)

    @property
    def overridden(self) -> int:
        """The images whose final reading contradicts the verdict: flagged without signs, or clear with signs."""
        return self.flagged_read.without_signs + self.clear_read.with_signs

    @property
    def contradictable(self) -> int:
        """The judged images whose verdict a reading can contradict: flagged or clear."""
        return self.flagged_read.judged + self.clear_read.judged

    def __add__(self, other: Counts) -> Counts:
        """Add the counts of other images."""
        return Counts(
            scored=_sum(self.scored, other.scored),
            flagged=self.flagged + other.flagged,
            uncertain=self.uncertain + other.uncertain,
            clear=self.clear + other.clear,
            rejected=_merged(self.rejected, other.rejected, 0),
            flagged_read=self.flagged_read + other.flagged_read,
            uncertain_read=self.uncertain_read + other.uncertain_read,
            to_read_unread=self.to_read_unread + other.to_read_unread,
            to_read_by_score=self.to_read_by_score + other.to_read_by_score,
            samples=_merged(self.samples, other.samples, Sample()),
            clear_read_undrawn=self.clear_read_undrawn + other.clear_read_undrawn,
            measured=self.measured + other.measured,
            far=self.far + other.far,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a document for a JSON column. What is zero or empty is left out."""
        return {each.name: value for each in fields(self) if (value := _plain(getattr(self, each.name)))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the counts of a document of `to_json`. Raises TypeError for a key that it does not know."""
        known = dict(document)
        for name, read in _READERS.items():
            if name in known:
                known[name] = read(known[name])
        return cls(**known)


def total(counts: Iterable[Counts]) -> Counts:
    """Add up counts, for example of the days of a month."""
    return sum(counts, Counts.none())


def _sum(first: Bins, second: Bins) -> Bins:
    return tuple(map(operator.add, first, second))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], nothing: Any) -> dict[str, Any]:
    names = sorted(first.keys() | second.keys())
    return {name: first.get(name, nothing) + second.get(name, nothing) for name in names}


def _plain(value: Any) -> Any:
    """Return a value of JSON: a number, a list or an object without what is zero or empty."""
    if isinstance(value, tuple):
        return list(value) if any(value) else []
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, FindingCounts | Judged | Sample):
        return {each.name: part for each in fields(value) if (part := _plain(getattr(value, each.name)))}
    return value


def _findings(document: Mapping[str, int]) -> FindingCounts:
    return FindingCounts(**document)


def _judged(document: Mapping[str, list[int]]) -> Judged:
    return Judged(**{name: tuple(bins) for name, bins in document.items()})


def _samples(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Sample]:
    return {
        share: Sample(
            clear=sample.get("clear", 0),
            read=_findings(sample.get("read", {})),
            unread=sample.get("unread", 0),
            by_score=_judged(sample.get("by_score", {})),
        )
        for share, sample in document.items()
    }


_READERS: dict[str, Callable[[Any], Any]] = {
    "scored": tuple,
    "rejected": dict,
    "flagged_read": _findings,
    "uncertain_read": _findings,
    "to_read_by_score": _judged,
    "samples": _samples,
    "clear_read_undrawn": _findings,
}
