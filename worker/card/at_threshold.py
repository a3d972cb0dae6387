"""What the curves of a model card say about any threshold: ranges, because a card holds a limited number of points. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.schema import Card, RocSection

# A card holds thresholds with four decimals.
_ROUNDED = 5e-5


@dataclass(frozen=True)
class Range:
    """The bounds of a figure, 0..1. None: it is undefined, because nobody would be on its side."""

    low: float | None
    high: float | None


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


def _at(name: str, roc: RocSection, threshold: float, prevalence: float) -> AtThreshold:
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
    return AtThreshold(
        name,
        Range(*sensitivity),
        Range(*specificity),
        Range(*(_ppv(*ends, prevalence) for ends in zip(sensitivity, specificity, strict=True))),
        Range(*(_ppv(*ends, 1 - prevalence) for ends in zip(specificity, sensitivity, strict=True))),
    )


def _ppv(found: float, spared: float, prevalence: float) -> float | None:
    """Return Bayes' rule for the positives; with the roles of both classes exchanged, for the negatives."""
    true, false = prevalence * found, (1 - prevalence) * (1 - spared)
    return true / (true + false) if true + false > 0 else None
