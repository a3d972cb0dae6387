"""Tells whether a film ends where the lungs do, so that a part of them may be missing. Pure."""

from __future__ import annotations


def are_cut_off(part: tuple[int, int, int, int], film: tuple[int, int, int, int]) -> bool:
    """Return whether the part around the lungs ends with the film on one side and at another edge.

    docs/model.md says how often that is so on films that nobody has cut, and on films that were.

    Args:
        part: left, top, right and bottom of what the network saw: the lungs with a margin, which ends with the film.
        film: the same of the film.
    """
    left, top, right, bottom = (edge == end for edge, end in zip(part, film, strict=True))
    return (left or right) and left + top + right + bottom > 1
