"""Exposure: the range of the grey values, histogram equalisation and stretching, in integer arithmetic.

Pixels are counted once and replaced once: what lies between works on 256 counts and levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The share of pixels below the lower bound, and above the upper bound. Burned-in letters and collimator
# borders cover about one per cent, and must not decide how bright the lungs are.
_TAIL = 0.01
_LEVELS = 256
# A grey value counts at most this many times the mean: see `equalising`.
_CONTRAST_LIMIT = 3

# How many pixels have each grey value; or the grey value that replaces each: shape (256,).
Counts = NDArray[np.int64]
Table = NDArray[np.uint8]


def counts_of(grey: NDArray[np.uint8]) -> Counts:
    """Return how many pixels have each grey value. `grey` has any shape with at least one pixel."""
    return np.bincount(grey.ravel(), minlength=_LEVELS)


def bounds(counts: Counts) -> tuple[int, int]:
    """Return the 1st and the 99th percentile of the grey values.

    Integer arithmetic gives the same bounds on every machine.

    Returns:
        (low, high), each in 0..255, low <= high.
    """
    cumulative = counts.cumsum()
    size = int(cumulative[-1])
    below = int(size * _TAIL)
    low = int(np.searchsorted(cumulative, below, side="right"))
    high = int(np.searchsorted(cumulative, size - below, side="left"))
    return low, high


def equalising(counts: Counts) -> Table:
    """Return the table that replaces each grey value by the share of darker pixels, plus half the share of equal pixels.

    This removes the exposure, gamma and window of a machine, because none of them changes which of two
    pixels is brighter. A grey value counts at most `_CONTRAST_LIMIT` times the mean, so that an empty border neither
    takes up the range nor has its noise amplified (contrast-limited histogram equalisation, the global form
    of Pizer et al., CVGIP 39, 1987).
    """
    limited = np.minimum(counts, max(1, _CONTRAST_LIMIT * int(counts.sum()) // _LEVELS))
    total = int(limited.sum())
    twice_below = 2 * limited.cumsum() - limited
    return ((twice_below * 255 + total) // (2 * total)).astype(np.uint8)


def stretching(counts: Counts) -> Table:
    """Return the table that maps the 1st percentile to 0 and the 99th to 255, linearly, and clips what lies outside.

    It is all zero if both percentiles are equal.
    """
    low, high = bounds(counts)
    if high == low:
        return np.zeros(_LEVELS, np.uint8)
    span = high - low
    levels = np.arange(_LEVELS, dtype=np.int64)
    return np.clip(((levels - low) * 255 + span // 2) // span, 0, 255).astype(np.uint8)


def normalise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Equalise the histogram, then stretch the range that a plain border takes up.

    With stretching alone, a network learns the haze of an image as a short cut, which fails in other
    hospitals; docs/training.md has the measurements.

    Args:
        grey: grey values 0..255, of any shape with at least one pixel.

    Returns:
        An array of the same shape that contains 0 and 255, unless all values are equal.
    """
    counts = counts_of(grey)
    equalised = equalising(counts)
    # How many pixels have each grey value afterwards.
    counts_then = np.zeros(_LEVELS, np.int64)
    np.add.at(counts_then, equalised, counts)
    return stretching(counts_then)[equalised].take(grey)
