"""Shares estimated from images of which all of one kind were read, and a random sample of the others. Pure.

The images that a model flags or calls uncertain are all read. Of the clear ones, a random sample is. Each image of the
sample stands for as many clear images as there are for each judged one: the inverse of the chance to be drawn and judged
(Horvitz and Thompson, Journal of the American Statistical Association 47, 1952, with the share that was really drawn).
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.card.confusion import share
from worker.proportions import ALPHA, clopper_pearson, number_in_a_finite_set
from worker.report.agreement import Estimate

NO_SAMPLE = "Not known: no clear image of a random sample was read, so nobody knows what was missed."
_NOBODY = "Not known: there is no such image."


@dataclass(frozen=True)
class Side:
    """Images with one label that lie on one side: in the share, or not.

    Attributes:
        read: flagged or uncertain ones.
        sampled: of the sample.
        room: how many clear images lie on this side, whatever their label.
        weight: exact sum of the weights of `read` and `sampled`.
    """

    read: int
    sampled: int
    room: int
    weight: float


def estimate(
    part: Side, rest: Side, whole: float, *, judged: int, clear: int, alpha: float = ALPHA
) -> Estimate:
    """Return the share of the images with one label that lie in `part`, with an interval of 1 - `alpha`.

    Chance decides which clear images were drawn, and how many images of the label happened to lie in the part. Each has an
    exact interval: for the clear ones on either side, the hypergeometric one, and for the share, Clopper and Pearson's at the
    worst of these numbers. By Bonferroni's inequality they hold together, so the interval is never too narrow for
    independent images, and usually somewhat too wide. With no clear image in the part it is that of
    `worker.report.missed`.

    Args:
        part: the side whose share is asked for.
        rest: the other side.
        whole: the exact sum of the weights of both.
        judged: images of the sample that were judged, whatever their label.
        clear: clear images in all, from which it was drawn.
        alpha: what both tails may hold together.
    """
    if clear and not judged:
        return Estimate(None, why_not=NO_SAMPLE)
    value = share(part.weight, whole)
    if value is None:
        return Estimate(None, why_not=_NOBODY)
    open_sides = [side for side in (part, rest) if side.room]
    each = alpha / (1 + len(open_sides))
    (least, most), (fewest_others, most_others) = (_clear(side, judged, clear, each) for side in (part, rest))
    low, _ = _share_of(part.read + least, rest.read + most_others, each)
    _, high = _share_of(part.read + most, rest.read + fewest_others, each)
    return Estimate(value, min(low, value), max(high, value))


def _clear(side: Side, judged: int, clear: int, alpha: float) -> tuple[int, int]:
    """Return limits for how many clear images of the label lie on a side."""
    if not side.room:
        return 0, 0
    least, most = number_in_a_finite_set(side.sampled, judged, clear, alpha)
    return min(least, side.room), min(most, side.room)


def _share_of(count: int, others: int, alpha: float) -> tuple[float, float]:
    return clopper_pearson(count, count + others, alpha) if count + others else (0.0, 1.0)
