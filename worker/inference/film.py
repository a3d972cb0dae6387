"""Finds the film in a picture that shows it on a plain margin or on a page.

The model input is the whole picture squashed to a square, so a film on a white page becomes small and loses its
contrast: the film is found first. docs/model.md has the measurements. This file needs only NumPy, so that
programs outside the server can use a copy (docs/edge.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# All lengths below are in pixels of a picture reduced to this many on its longest side.
LONGEST_SIDE = 256

# Strips along each side that tell the margin's grey levels; the second is tried where the first is not
# plain. The outermost lines are left out: they may be the dark edge of a scan or an outline.
_STRIPS = (slice(3, 5), slice(8, 10))
_PIECES = 8
# The margin's levels are those from the 5th to the 95th percentile of each piece of a strip.
_TAIL = 0.05
# A strip is plain if its levels span at most 24 (noise, writing), or each piece's at most 12 (a gradient).
_STRIP_SPAN, _PIECE_SPAN = 24, 12
# Pixels darker or lighter than the strip's levels by at most this much are still margin.
_SLACK = 4

# Many films have dark borders of their own, which do no harm. So a margin below this level is left in
# unless it takes so much of the picture, together or on one side. Of 5,910 films without a margin, 16 have as much.
_DARK = 64
_LEAST_FILM_ON_DARK = 0.7
_DEEPEST_DARK_SIDE = 0.155
# A lighter margin is left in if the film fills more than this share of the picture.
_MOST_FILM_ON_LIGHT = 0.96
# A picture with soft edges is a film of its own, unless three sides are plain or it would lose so much.
_SIDES_OF_A_PAGE = 3
_LEAST_FILM_WITH_SOFT_EDGES = 0.55

# A picture with less content than this is blank, which the gate says. A film has at least so many pixels a side.
_BLANK = 0.01
_SMALLEST = 24

# A row or column belongs to the film if this share of it is not margin: first of the whole picture, in
# which the film may be narrow, then of the film as found so far.
_BUSY_AT_FIRST, _BUSY = 0.1, 0.25
# Runs of such lines shorter than a third of the longest run are writing or a ruler.
_SHORTER = 3
# An edge is sharp if half of its pixels leave the margin's levels by more than 14 within 3 pixels on both sides.
_REACH = 3
_RISE = 0.5
_FAR = 14
# A gap: lines with less content than this, over more than this share of the box.
_EMPTY = 0.03
_GAP = 0.02
# A page may lie in a darker frame, and that on another page.
_ROUNDS = 3

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Levels = list[tuple[int, int]]


class NoSingleFilm(Exception):  # noqa: N818 - an answer, not an error
    """The picture has a margin that cannot be removed reliably, or shows several films."""


@dataclass(frozen=True)
class Box:
    """A part of a picture, in its pixels: left <= x < right and top <= y < bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.right, self.bottom

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """The number of rows."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """The number of pixels."""
        return self.width * self.height

    def cut(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return this part of an array of shape (height, width)."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def within(self, outer: Box) -> Box:
        """Return the same part, in the pixels of the picture that `outer` is a part of."""
        return Box(
            self.left + outer.left, self.top + outer.top, self.right + outer.left, self.bottom + outer.top
        )


def find_film(grey: Grey) -> Box | None:
    """Find the film in a picture that shows it on a plain margin of any level, on one side or several.

    Args:
        grey: grey values 0..255, shape (height, width), reduced to about `LONGEST_SIDE`.

    Returns:
        The film's box; None if the picture has no margin, or only one that does no harm.

    Raises:
        NoSingleFilm: there is a margin that cannot be removed reliably.
    """
    whole = Box(0, 0, grey.shape[1], grey.shape[0])
    film = whole
    for _ in range(_ROUNDS):
        inner = _without_margin(film.cut(grey))
        if inner is None:
            break
        film = inner.within(film)
    return None if film == whole else film


def _without_margin(grey: Grey) -> Box | None:
    sides = _plain_sides(grey)
    if not sides:
        return None
    return _without_light_margin(grey, sides) or _without_dark_margin(grey, sides)


def _without_light_margin(grey: Grey, sides: Sequence[Levels]) -> Box | None:
    light = [levels for levels in sides if min(levels)[0] >= _DARK]
    if not light:
        return None
    content = _content(grey, light, _SLACK)
    box = _extent(content)
    if box is not None and _has_sharp_edges(_content(grey, light, _FAR), box):
        return _single(content, box) if box.area <= _MOST_FILM_ON_LIGHT * grey.size else None
    if content.mean() < _BLANK:
        return None
    least = _LEAST_FILM_WITH_SOFT_EDGES * grey.size
    if box is None or box.area < least or len(light) >= _SIDES_OF_A_PAGE:
        raise NoSingleFilm
    return None


def _without_dark_margin(grey: Grey, sides: Sequence[Levels]) -> Box | None:
    dark = [levels for levels in sides if min(levels)[0] < _DARK]
    box = _extent(_content(grey, dark, _SLACK)) if dark else None
    if box is None or min(box.width, box.height) < _SMALLEST:
        return None
    film = _shrunk(box, grey.shape)
    if box.area < _LEAST_FILM_ON_DARK * grey.size or _deepest(box, grey.shape) > _DEEPEST_DARK_SIDE:
        return film
    # The dark margin may be the frame of a page.
    inner = film.cut(grey)
    on_page = _without_light_margin(inner, _plain_sides(inner))
    return None if on_page is None else on_page.within(film)


def _plain_sides(grey: Grey) -> list[Levels]:
    """Return the grey levels of each side that is plain."""
    sides = [_plain_levels(lines) for lines in (grey, grey[::-1], grey.T, grey.T[::-1])]
    return [levels for levels in sides if levels]


def _plain_levels(lines: Grey) -> Levels:
    """Return the lowest and highest grey level of each piece of the strip along the first lines, if plain."""
    for strip in _STRIPS:
        length = (lines.shape[1] - 2 * strip.start) // _PIECES
        if length < 1 or len(lines) < strip.stop:
            break
        pieces = lines[strip, strip.start :][:, : _PIECES * length].reshape(2, _PIECES, length)
        ordered = np.sort(pieces.swapaxes(0, 1).reshape(_PIECES, -1), axis=1)
        tail = int(_TAIL * 2 * length)
        low, high = ordered[:, tail], ordered[:, -1 - tail]
        if int(high.max()) - int(low.min()) <= _STRIP_SPAN or int((high - low).max()) <= _PIECE_SPAN:
            return list(zip(low.tolist(), high.tolist(), strict=True))
    return []


def _content(grey: Grey, sides: Sequence[Levels], slack: int) -> Mask:
    """Return which pixels differ by more than `slack` from the margins' levels."""
    is_content = np.ones(256, dtype=np.bool_)
    for levels in sides:
        for low, high in levels:
            is_content[max(0, low - slack) : high + slack + 1] = False
    return is_content[grey]


def _extent(content: Mask) -> Box | None:
    """Return the box of the rows and columns that are mostly content, without writing and rulers."""
    left, right = 0, content.shape[1]
    for share in (_BUSY_AT_FIRST, _BUSY, _BUSY):
        top, bottom = _long_runs(_count(content[:, left:right], 1) >= share * (right - left))
        left, right = _long_runs(_count(content[top:bottom], 0) >= _BUSY * (bottom - top))
        if top == bottom or left == right:
            return None
    return Box(left, top, right, bottom)


def _long_runs(busy: Mask) -> tuple[int, int]:
    """Return where the first long run of true values starts and where the last one ends; (0, 0) for none."""
    starts, ends = _runs(busy)
    if not starts.size:
        return 0, 0
    lengths = ends - starts
    long = np.flatnonzero(_SHORTER * lengths >= lengths.max())
    return int(starts[long[0]]), int(ends[long[-1]])


def _runs(line: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    changes = np.flatnonzero(np.diff(line, prepend=False, append=False))
    return changes[::2], changes[1::2]


def _count(content: Mask, axis: int) -> NDArray[np.int32]:
    # As numbers of one byte, which NumPy adds faster than it counts truth values.
    count: NDArray[np.int32] = np.add.reduce(content.view(np.uint8), axis=axis, dtype=np.int32)
    return count


def _has_sharp_edges(far: Mask, box: Box) -> bool:
    """Return whether more than two thirds of the margin, by its depth, end at a sharp edge."""
    depths = {True: 0, False: 0}
    for depth, rise in _edges(far, box):
        depths[rise >= _RISE] += depth
    return depths[True] > 2 * depths[False]


def _edges(far: Mask, box: Box) -> Iterator[tuple[int, float]]:
    """Yield each margin's depth in pixels and how much the share of pixels far from it rises at its edge."""
    rows, columns = far[:, box.left : box.right], far[box.top : box.bottom].T
    sides = (rows, rows[::-1], columns, columns[::-1])
    for lines, depth in zip(sides, _depths(box, far.shape), strict=True):
        if depth > _REACH:
            outside = float(lines[depth - _REACH].mean())
            yield depth, float(lines[depth : depth + _REACH + 1].mean(axis=1).max()) - outside


def _single(content: Mask, box: Box) -> Box:
    """Return the film's box. Raises NoSingleFilm if it is tiny or holds two parts with a gap between them."""
    inside = box.cut(content)
    if min(inside.shape) < _SMALLEST or _has_gap(inside) or _has_gap(inside.T):
        raise NoSingleFilm
    return _shrunk(box, content.shape)


def _has_gap(content: Mask) -> bool:
    """Return whether rows of margin, with sharp edges, divide the content in two."""
    shares = content.mean(axis=1)
    starts, ends = _runs(shares <= _EMPTY)
    wide = ends - starts > _GAP * len(shares)
    above, below = (
        shares[np.maximum(starts[wide] - _REACH, 0)],
        shares[np.minimum(ends[wide] + _REACH, len(shares)) - 1],
    )
    return bool(np.any(np.minimum(above, below) > _RISE))


def _shrunk(box: Box, shape: tuple[int, ...]) -> Box:
    """Leave out the lines in which the film and its margin are mixed."""
    top, bottom, left, right = (int(depth > 0) for depth in _depths(box, shape))
    return Box(box.left + left, box.top + top, box.right - right, box.bottom - bottom)


def _deepest(box: Box, shape: tuple[int, ...]) -> float:
    """Return the largest margin, as a share of the picture's height or width."""
    top, bottom, left, right = _depths(box, shape)
    return max(max(top, bottom) / shape[0], max(left, right) / shape[1])


def _depths(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the margins at the top, bottom, left and right, in pixels."""
    return box.top, shape[0] - box.bottom, box.left, shape[1] - box.right
