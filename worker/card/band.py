"""The scores at which the verdict of an operating point changes: for triage, for re-triage, and for pages. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.population import Population

# A score of a film that was cut out of a page can be lower than that of the film alone: the largest fall near
# the band was 0.41, to 0.31 below the band. So such an image is clear only this far below the band.
CAUTION_AFTER_CROP = 0.35


# Distances are in units of the limit of `worker.inference.distance`, so the limit itself is this.
LIMIT_OF_DISTANCE = 1.0


def is_far(distance: float | None) -> bool:
    """Return whether an image is beyond the limit of `worker.inference.distance`. None: the model does not say."""
    return distance is not None and distance > LIMIT_OF_DISTANCE


def is_never_clear(population: str | None, distance: float | None) -> bool:
    """Return whether the model's figures do not hold for an image.

    Args:
        population: a value of `Population`; None: nobody was checked.
        distance: from the training data, in units of the limit; None: the model does not say.
    """
    return population == Population.OUTSIDE or is_far(distance)


def clear_below(band_low: float, *, cropped: bool, never_clear: bool = False) -> float:
    """Return the score below which an image is clear: 0..1, and 0 if no score is.

    Args:
        band_low: of the operating point, 0..1.
        cropped: the film was cut out of a margin or a page.
        never_clear: as `is_never_clear` says.
    """
    if never_clear:
        return 0.0
    return max(0.0, band_low - CAUTION_AFTER_CROP) if cropped else band_low


@dataclass(frozen=True)
class Bounds:
    """All that decides a verdict besides the score and the image; each is 0..1.

    Attributes:
        flagged_from: an image at or above it is flagged.
        clear_below: an image below it is clear.
        clear_below_if_cropped: the same for a film that was cut out of a margin or a page.
    """

    flagged_from: float
    clear_below: float
    clear_below_if_cropped: float

    @classmethod
    def of_band(cls, band_low: float, band_high: float) -> Bounds:
        """Return the bounds of an operating point."""
        return cls(band_high, clear_below(band_low, cropped=False), clear_below(band_low, cropped=True))

    def verdict(self, p_pneumonia: float, *, cropped: bool, never_clear: bool) -> str:
        """Return `flagged`, `uncertain` or `clear` for a score; an image that is `never_clear` is uncertain instead."""
        if p_pneumonia >= self.flagged_from:
            return "flagged"
        limit = self.clear_below_if_cropped if cropped else self.clear_below
        return "uncertain" if never_clear or p_pneumonia >= limit else "clear"
