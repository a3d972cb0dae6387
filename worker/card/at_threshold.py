"""What the curves of a model card say about any threshold: ranges, because a card holds a limited number of points. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.confusion import positive_predictive_value
from worker.card.schema import Card, RocSection

# A card holds thresholds with four decimals.
_ROUNDED = 5e-5


@dataclass(frozen=True)
class Range:
    """The bounds of a figure, 0..1. None: it is undefined, because nobody would be on its side."""

    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """The bounds as numbers: what is undefined may be anything."""
        return 0.0 if self.low is None else self.low, 1.0 if self.high is None else self.high


@dataclass(frozen=True)
class AtThreshold:
    """The figures of a model on one set of images if those at or above a threshold count as positive.

    Attributes:
        name: key of the set on the card.
        sensitivity: share of the images with pneumonia at or above the threshold.
        specificity: share of the others below it.
        ppv: share with pneumonia of the positives, at the prevalence that was asked for.
        npv: share without pneumonia of the negatives, likewise.
    """

    name: str
    sensitivity: Range
    specificity: Range
    ppv: Range
    npv: Range


def at_threshold(card: Card, threshold: float, prevalence: float) -> list[AtThreshold]:
    """Return the figures at a threshold for each curve of the card that states its thresholds.

    Each range lies between the two points of the curve beside the threshold. It is no confidence interval: the card
    holds none for a point of a curve.

    Args:
        card: for people.
        threshold: 0..1.
        prevalence: the share of images with pneumonia, 0..1.
    """
    return [
        _at(name, section.roc, threshold, prevalence)
        for name, section in card.curves.items()
        if len(section.roc.threshold) == len(section.roc.sensitivity) == len(section.roc.specificity) > 0
    ]


def rates_at(roc: RocSection, threshold: float) -> tuple[Range, Range]:
    """Return sensitivity and specificity at a threshold, each between the two points of the curve beside it."""
    points = list(zip(roc.threshold, roc.sensitivity, roc.specificity, strict=True))
    above = [point for point in points if point[0] >= threshold + _ROUNDED]
    below = [point for point in points if point[0] <= threshold - _ROUNDED]
    sensitivity = (
        max((found for _, found, _ in above), default=0.0),
        min((found for _, found, _ in below), default=1.0),
    )
    specificity = (
        max((spared for _, _, spared in below), default=0.0),
        min((spared for _, _, spared in above), default=1.0),
    )
    return Range(*sensitivity), Range(*specificity)


def _at(name: str, roc: RocSection, threshold: float, prevalence: float) -> AtThreshold:
    sensitivity, specificity = rates_at(roc, threshold)
    ends = ((sensitivity.low, specificity.low), (sensitivity.high, specificity.high))
    return AtThreshold(
        name,
        sensitivity,
        specificity,
        Range(*(_ppv(found, spared, prevalence) for found, spared in ends)),
        Range(*(_ppv(spared, found, 1 - prevalence) for found, spared in ends)),
    )


def _ppv(found: float | None, spared: float | None, prevalence: float) -> float | None:
    if found is None or spared is None:
        return None
    return positive_predictive_value(found, 1 - spared, prevalence)
