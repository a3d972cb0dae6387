"""Triage: the verdict for a score at an operating point. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.card.band import Bounds


class Verdict(StrEnum):
    """The meaning of a score for the reading queue. It is never a diagnosis."""

    FLAGGED = "flagged"
    UNCERTAIN = "uncertain"
    CLEAR = "clear"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the band around it: a point on the ROC curve of a model.

    Attributes:
        name: for example `balanced`.
        threshold: an image at or above it counts as positive in every metric; 0..1.
        band_low: an image below it is clear; 0..1.
        band_high: an image at or above it is flagged; 0..1.
        sensitivity: expected share of images with pneumonia at or above the threshold; None: not measured.
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
        """Raise ValueError for a band that does not contain its threshold; NaN is not valid either."""
        if not 0.0 <= self.band_low <= self.threshold <= self.band_high <= 1.0:
            raise ValueError(
                f"operating point {self.name!r}: 0 <= band_low <= threshold <= band_high <= 1 must hold, "
                f"got {self.band_low}, {self.threshold}, {self.band_high}"
            )


def triage(
    p_pneumonia: float, point: OperatingPoint, *, cropped: bool = False, never_clear: bool = False
) -> Verdict:
    """Return the verdict for a score.

    Args:
        p_pneumonia: the score, 0..1.
        point: the operating point in force.
        cropped: the film was cut out of a margin or a page.
        never_clear: as `worker.card.band.is_never_clear` says.

    Returns:
        `flagged` at or above `band_high`, `clear` below the limit of `worker.card.band`, else `uncertain`.

    Raises:
        ValueError: the score is not a number in 0..1.
    """
    _check(p_pneumonia)
    bounds = Bounds.of_band(point.band_low, point.band_high)
    return Verdict(bounds.verdict(p_pneumonia, cropped=cropped, never_clear=never_clear))


def confidence(p_pneumonia: float) -> float:
    """Return the probability of the more likely side, max(p, 1 - p): 0.5..1.

    Raises:
        ValueError: the score is not a number in 0..1.
    """
    _check(p_pneumonia)
    return max(p_pneumonia, 1.0 - p_pneumonia)


def _check(p_pneumonia: float) -> None:
    if not 0.0 <= p_pneumonia <= 1.0:
        raise ValueError(f"a probability must be in 0..1, got {p_pneumonia}")
