"""Pure: from a probability and an operating point to what is done with an image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the model's score means for the reading queue. Never a diagnosis."""

    FLAGGED = "flagged"
    UNCERTAIN = "uncertain"
    CLEAR = "clear"


@dataclass(frozen=True)
class OperatingPoint:
    """Where on its ROC curve a model is used.

    Attributes:
        name: for instance `balanced`.
        threshold: at or above it, an image counts as positive in every metric; 0..1.
        band_low: below it, an image is clear; 0..1.
        band_high: at or above it, an image is flagged; 0..1.
        sensitivity: expected share of pneumonia at or above the threshold; None: not measured.
        specificity: expected share of normal images below the threshold; None: not measured.
        flagged_share: expected share of all images at or above `band_high`; None: not measured.
    """

    name: str
    threshold: float
    band_low: float
    band_high: float
    sensitivity: float | None = None
    specificity: float | None = None
    flagged_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse a band that does not hold its threshold (NaN fails this too)."""
        if not 0.0 <= self.band_low <= self.threshold <= self.band_high <= 1.0:
            raise ValueError(
                f"operating point {self.name!r}: 0 <= band_low <= threshold <= band_high <= 1 is needed, "
                f"got {self.band_low}, {self.threshold}, {self.band_high}"
            )


def triage(p_pneumonia: float, point: OperatingPoint) -> Verdict:
    """Place an image in the queue.

    Args:
        p_pneumonia: p_bacterial + p_viral, 0..1.
        point: the operating point in use.

    Returns:
        `flagged` from `band_high` upwards, `clear` below `band_low`, `uncertain` between.

    Raises:
        ValueError: the probability is not a number in 0..1.
    """
    _check(p_pneumonia)
    if p_pneumonia >= point.band_high:
        return Verdict.FLAGGED
    return Verdict.UNCERTAIN if p_pneumonia >= point.band_low else Verdict.CLEAR


def confidence(p_pneumonia: float) -> float:
    """How far the score is from a coin toss: max(p, 1 - p), in 0.5..1.

    Raises:
        ValueError: the probability is not a number in 0..1.
    """
    _check(p_pneumonia)
    return max(p_pneumonia, 1.0 - p_pneumonia)


def _check(p_pneumonia: float) -> None:
    if not 0.0 <= p_pneumonia <= 1.0:
        raise ValueError(f"a probability is needed, got {p_pneumonia}")
