"""Cases that the model missed, and its sensitivity, estimated from a random sample of clear images. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.proportions import ALPHA, clopper_pearson, number_in_a_finite_set
from worker.report.agreement import Estimate


@dataclass(frozen=True)
class ReadCounts:
    """What was read of a set of images, counted by finding. What cannot be judged counts nowhere.

    Attributes:
        found: flagged or uncertain images with signs of pneumonia.
        false_alarms: flagged or uncertain images without signs.
        unread: flagged or uncertain images that nobody has read. Their findings would change the sensitivity.
        clear: clear images in all, read or not.
        sample_with_signs: images of the random sample of clear images that were read: with signs.
        sample_without_signs: the same, without signs.
    """

    found: int
    false_alarms: int
    clear: int
    sample_with_signs: int
    sample_without_signs: int
    unread: int = 0

    def __post_init__(self) -> None:
        """Check that no count is negative, and that the sample is no larger than what it was drawn from."""
        counts = (
            self.found,
            self.false_alarms,
            self.clear,
            self.sample_with_signs,
            self.sample_without_signs,
            self.unread,
        )
        if min(counts) < 0 or self.sampled > self.clear:
            raise ValueError("counts must be 0 or more, and the sample is a part of the clear images")

    @property
    def sampled(self) -> int:
        """The clear images of the random sample that were read."""
        return self.sample_with_signs + self.sample_without_signs


@dataclass(frozen=True)
class Missed:
    """What the model missed.

    Attributes:
        cases: the number of clear images with signs of pneumonia, of all clear images of the set.
        sensitivity: the share of images with signs that the model flags or calls uncertain, 0 to 1. The readers are the
            reference.
    """

    cases: Estimate
    sensitivity: Estimate


def missed(counts: ReadCounts) -> Missed:
    """Estimate what the model missed. Only a random sample of the clear images allows it.

    *Cases*: the share with signs in the sample, times the clear images. The interval is exact for a sample of any size,
    also one without any miss (`number_in_a_finite_set`).

    *Sensitivity*: found / (found + cases). Its interval holds for further images like these. It allows for two things that
    chance decides: which clear images were drawn, and how many of the images with signs the model happened to find. Each
    has an exact interval of 97.5 %: for the cases, as above, and for the share found of `found` + cases, Clopper and
    Pearson's (1934) at the worst number of cases. By Bonferroni's inequality, both hold together at least 95 times in 100,
    so the interval is never too narrow, and usually somewhat too wide.
    """
    cases = _cases(counts)
    return Missed(cases, _sensitivity(counts, cases))


def _cases(counts: ReadCounts) -> Estimate:
    if not counts.clear:
        return Estimate(0.0, 0.0, 0.0)
    if not counts.sampled:
        return Estimate(
            None, why_not="No clear image of a random sample was read, so nobody knows what was missed."
        )
    low, high = number_in_a_finite_set(counts.sample_with_signs, counts.sampled, counts.clear)
    return Estimate(counts.clear * counts.sample_with_signs / counts.sampled, low, high)


def _sensitivity(counts: ReadCounts, cases: Estimate) -> Estimate:
    if cases.value is None:
        return Estimate(None, why_not=cases.why_not)
    if counts.unread:
        return Estimate(
            None,
            why_not=f"Flagged or uncertain images that nobody has read: {counts.unread:,}."
            " The sensitivity is known once they are read.",
        )
    positives = counts.found + cases.value
    if not positives:
        return Estimate(
            None,
            why_not="No image with signs of pneumonia was found, so there is nothing to be sensitive to.",
        )
    fewest = most = 0
    if counts.clear:
        fewest, most = number_in_a_finite_set(
            counts.sample_with_signs, counts.sampled, counts.clear, ALPHA / 2
        )
    low, _ = clopper_pearson(counts.found, counts.found + most, ALPHA / 2)
    # With no miss at least in sight, all images with signs may have been found.
    _, high = (
        clopper_pearson(counts.found, counts.found + fewest, ALPHA / 2)
        if counts.found + fewest
        else (0.0, 1.0)
    )
    return Estimate(counts.found / positives, low, high)
