"""Recognises a wide plain margin that is left in the square of which the model input is made.

A margin that `film` does not find takes contrast from the film: a film with pneumonia becomes *clear*.
docs/model.md has the measurements. Like `film`, this file needs only NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A row or column is plain if 95 % of its pixels differ by at most 4 grey levels from the pixel 4 % of the side
# further on. So shadows, noise and a few strokes of writing do not matter, but no row of a lung is plain.
_DISTANCE = 0.04
_LARGEST_DIFFERENCE = 4
_SHARE_OF_PAIRS = 0.95
# A margin from this mean level up takes the contrast from the film. A darker margin acts like a black one.
_LIGHT = 150
# The largest part of the height or of the width that light plain lines may take. Four margins of 3 % stay below
# it; the narrowest margins that changed a verdict (four of 8 %, two of 8 %, one of 12 %) are above it.
_LARGEST_LIGHT_PART = 0.08
# Whatever their level, plain lines may take this part of the height and of the width, and the film must fill this
# part of the picture. The extremes of 5,910 radiographs are 0.28 and 0.57: black collimation and black borders
# pass. A grey or black margin of 60 % of the film on one side, which changes verdicts, takes 0.37.
_LARGEST_PLAIN_PART = 0.36
_SMALLEST_FILM = 0.5


def has_wide_margin(grey: NDArray[np.uint8]) -> bool:
    """Return whether a square has a wide plain margin, on one side or several.

    Args:
        grey: grey values 0..255 *before* the exposure is normalised, shape (side, side).
    """
    rows, columns = _plain(grey), _plain(grey.T)
    down, across = rows.mean(), columns.mean()
    if max(down, across) > _LARGEST_PLAIN_PART or (1 - down) * (1 - across) < _SMALLEST_FILM:
        return True
    # A dark border may surround the page.
    inner = grey[_within(rows & ~_light(grey)), _within(columns & ~_light(grey.T))]
    return any(
        float((_plain(lines) & _light(lines)).mean()) > _LARGEST_LIGHT_PART for lines in (inner, inner.T)
    )


def _plain(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which rows are plain."""
    lines = np.ascontiguousarray(lines)
    distance = max(1, round(_DISTANCE * lines.shape[1]))
    one, other = lines[:, distance:], lines[:, :-distance]
    alike = np.maximum(one, other) - np.minimum(one, other) <= _LARGEST_DIFFERENCE
    plain: NDArray[np.bool_] = _sums(alike.view(np.uint8)) >= _SHARE_OF_PAIRS * alike.shape[1]
    return plain


def _light(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which rows are light on average."""
    light: NDArray[np.bool_] = _sums(lines) >= _LIGHT * lines.shape[1]
    return light


def _sums(lines: NDArray[np.uint8]) -> NDArray[np.uint32]:
    # NumPy adds bytes faster than it counts truth values or takes a mean.
    sums: NDArray[np.uint32] = np.add.reduce(lines, axis=1, dtype=np.uint32)
    return sums


def _within(border: NDArray[np.bool_]) -> slice:
    """Return the lines between the borders at both ends; `border` says which lines may belong to a border."""
    others = np.flatnonzero(~border)
    return slice(int(others[0]), int(others[-1]) + 1)
