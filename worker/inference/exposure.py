"""Exposure: the range of the grey values, histogram equalisation and stretching, in integer arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The share of pixels below the lower bound, and above the upper bound. Burned-in letters and collimator
# borders cover about one per cent, and must not decide how bright the lungs are.
_TAIL = 0.01
_LEVELS = 256
# A grey value counts at most this many times the mean: see `equalise`.
_CONTRAST_LIMIT = 3


def bounds(grey: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the 1st and the 99th percentile of the grey values.

    Integer arithmetic gives the same bounds on every machine.

    Args:
        grey: grey values, of any shape with at least one pixel.

    Returns:
        (low, high), each in 0..255, low <= high.
    """
    cumulative = np.bincount(grey.ravel(), minlength=_LEVELS).cumsum()
    below = int(grey.size * _TAIL)
    low = int(np.searchsorted(cumulative, below, side="right"))
    high = int(np.searchsorted(cumulative, grey.size - below, side="left"))
    return low, high


def equalise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace each grey value by the share of darker pixels, plus half the share of equal pixels.

    This removes the exposure, gamma and window of a machine, because none of them changes which of two
    pixels is brighter. A grey value counts at most `_CONTRAST_LIMIT` times the mean, so that an empty border neither
    takes up the range nor has its noise amplified (contrast-limited histogram equalisation, the global form
    of Pizer et al., CVGIP 39, 1987).

    Args:
        grey: grey values 0..255, of any shape with at least one pixel.

    Returns:
        An array of the same shape.
    """
    counts = np.bincount(grey.ravel(), minlength=_LEVELS).astype(np.int64)
    counts = np.minimum(counts, max(1, _CONTRAST_LIMIT * grey.size // _LEVELS))
    total = int(counts.sum())
    twice_below = 2 * counts.cumsum() - counts
    table = ((twice_below * 255 + total) // (2 * total)).astype(np.uint8)
    return table[grey]


def stretch(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map the 1st percentile to 0 and the 99th to 255, linearly, and clip the values outside.

    Args:
        grey: grey values 0..255, of any shape.

    Returns:
        An array of the same shape; all zero if both percentiles are equal.
    """
    low, high = bounds(grey)
    if high == low:
        return np.zeros_like(grey)
    span = high - low
    levels = np.arange(_LEVELS, dtype=np.int64)
    table = np.clip(((levels - low) * 255 + span // 2) // span, 0, 255).astype(np.uint8)
    return table[grey]
