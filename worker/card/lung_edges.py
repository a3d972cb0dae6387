"""Tells whether a film ends where the lungs do, so that part of them may be cut off. Pure."""

from __future__ import annotations


def are_cut_off(part: tuple[int, int, int, int], film: tuple[int, int, int, int]) -> bool:
    """Return whether the part around the lungs touches the left or right edge of the film, and at least one more edge.

    docs/model.md says how often that is so on films that nobody has cut, and on films that were.

    Args:
        part: left, top, right and bottom of what the network saw: the lungs with a margin, which ends with the film.
        film: left, top, right and bottom of the film.
    """
    left, top, right, bottom = (edge == end for edge, end in zip(part, film, strict=True))
    return (left or right) and left + top + right + bottom > 1
