"""Activation maps: the log-odds of pneumonia at each place of what a model saw (Zhou et al., CVPR 2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The log-odds of pneumonia that a map shows as 255. In 161 original files, the median of the strongest place is 6 in
# normal images, and 21 in images with pneumonia.
FULL_SCALE = 24.0
# Rows and columns of a map of the whole film, which shows a part of it too: the lungs take about two thirds of the edge, so
# the cells are not coarser than those of the network that sees them.
FILM_MAP = 16

_NORMAL = 0
Part = tuple[float, float, float, float]


def log_odds(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of pneumonia at each place.

    Args:
        places: logits (normal, bacterial, viral), shape (h, w, 3).
    """
    pneumonia: NDArray[np.float64] = np.logaddexp.reduce(np.delete(places, _NORMAL, axis=-1), axis=-1)
    return np.asarray(pneumonia - places[..., _NORMAL])


def over_film(
    of_part: NDArray[np.float64], part: Part, of_film: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the log-odds at each place of a film, shape (`FILM_MAP`, `FILM_MAP`).

    Args:
        of_part: log-odds of the network that sees a part of the film, shape (h, w). They count as 0 outside the part.
        part: left, top, right and bottom of the part, as shares of the film.
        of_film: log-odds of the network that sees the whole film, shape (h, w): the result is the mean of both. None: there
            is no such network.
    """
    left, top, right, bottom = part
    rows, row_inside = _places(top, bottom, of_part.shape[0])
    columns, column_inside = _places(left, right, of_part.shape[1])
    inside = row_inside[:, np.newaxis] & column_inside
    seen = np.where(inside, of_part[np.ix_(rows, columns)], 0.0)
    if of_film is None:
        return seen
    rows, _ = _places(0.0, 1.0, of_film.shape[0])
    columns, _ = _places(0.0, 1.0, of_film.shape[1])
    return np.asarray((seen + of_film[np.ix_(rows, columns)]) / 2)


def picture(odds: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return log-odds as a map of the same shape: 0 where normal is more likely, 255 from `FULL_SCALE` up."""
    return np.asarray(np.rint(255.0 * np.clip(odds / FULL_SCALE, 0.0, 1.0)), dtype=np.uint8)


def _places(start: float, end: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for the centre of each row of a film's map its row in a part from `start` to `end`, and whether it has one."""
    centres = (np.arange(FILM_MAP) + 0.5) / FILM_MAP
    places = np.floor((centres - start) / (end - start) * count).astype(np.int64)
    return np.clip(places, 0, count - 1), (places >= 0) & (places < count)
