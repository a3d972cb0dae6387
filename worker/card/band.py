"""The lower end of an operating point's band, for triage and for the pages that show it. Pure."""

from __future__ import annotations

# A score of a film that was cut out of a page can be lower than that of the film alone: the largest fall near
# the band was 0.41, to 0.31 below the band. So such an image is clear only this far below the band.
CAUTION_AFTER_CROP = 0.35


def clear_below(band_low: float, *, cropped: bool, outside: bool = False) -> float:
    """Return the score below which an image is clear: 0..1, and 0 if no score is.

    Args:
        band_low: of the operating point, 0..1.
        cropped: the film was cut out of a margin or a page.
        outside: the patient is outside the model's population.
    """
    if outside:
        return 0.0
    return max(0.0, band_low - CAUTION_AFTER_CROP) if cropped else band_low
