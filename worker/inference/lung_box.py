"""Finds the box around the lungs, from how likely each place of a film is lung.

This file needs only NumPy, so that programs outside the server can use a copy (docs/edge.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A row or column belongs to the lungs if this many of its pixels are lung, so that specks move no edge.
_PIXELS = 2
_LUNG = 0.5


@dataclass(frozen=True)
class LungBox:
    """The box around both lungs, and what tells whether it can be trusted.

    Attributes:
        left, top, right, bottom: shares of the film's width and height, 0..1.
        area: share of the film that is lung, 0..1.
    """

    left: float
    top: float
    right: float
    bottom: float
    area: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.right, self.bottom

    def widened(self, margin: float) -> LungBox:
        """Return the box with a margin on each side, a share of its width and height.

        It ends with the film. Black strips beyond it would tell the network where the lungs lay.
        """
        x, y = margin * (self.right - self.left), margin * (self.bottom - self.top)
        return LungBox(
            max(0.0, self.left - x),
            max(0.0, self.top - y),
            min(1.0, self.right + x),
            min(1.0, self.bottom + y),
            self.area,
        )


def probability(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of log-odds, of the same shape."""
    # Beyond 30, one minus the probability is below what float32 can say.
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))), np.float32)


def find_box(lung: NDArray[np.float32], least_area: float) -> LungBox | None:
    """Return the box around the lungs; None: there are none.

    Args:
        lung: the probability that each place of the film is lung, shape (side, side).
        least_area: share of the film that must be lung.
    """
    area = float((lung > _LUNG).mean())
    columns, rows = _extent(_profile(lung, 0)), _extent(_profile(lung, 1))
    if area < least_area or columns is None or rows is None:
        return None
    return LungBox(columns[0], rows[0], columns[1], rows[1], area)


def _profile(lung: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the probability that `_PIXELS` pixels of each column (axis 0) or row (axis 1) reach."""
    return np.asarray(np.partition(lung, -_PIXELS, axis=axis).take(-_PIXELS, axis=axis))


def _extent(profile: NDArray[np.float32]) -> tuple[float, float] | None:
    """Return where a profile first and last crosses one half, as shares of its length; None: nowhere."""
    inside = np.flatnonzero(profile > _LUNG)
    if not len(inside):
        return None
    first, last = int(inside[0]), int(inside[-1])
    padded = np.pad(profile.astype(np.float64), 1)
    start = first + 0.5 - _share(padded[first + 1], padded[first])
    end = last + 0.5 + _share(padded[last + 1], padded[last + 2])
    return max(0.0, start / len(profile)), min(1.0, end / len(profile))


def _share(inside: float, outside: float) -> float:
    """Return how far beyond the centre of the inner pixel the profile falls to one half, in pixels."""
    return float((inside - _LUNG) / (inside - outside))
