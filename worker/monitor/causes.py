"""Says what explains a change: other patients, or the model or its images. Undecided where the readings do not tell. Pure.

Another prevalence changes how many images are flagged and found, but neither which share the model finds of the images with
signs (sensitivity), nor which share it flags of the others (1 - specificity). So:

- if sensitivity, specificity or the low scores changed, the model or the images did;
- if the share that is found with signs changed, and sensitivity and specificity are known to be the same, the patients did;
- else it is undecided. That no difference was found does not suffice: the interval of each difference must exclude one that
  matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.monitor.changes import difference
from worker.monitor.figures import Figure, Series
from worker.monitor.weighted import proportion

# A difference is clear from so many standard errors on. Few figures are asked, about a change that is known to be one.
CLEAR = 3.0
# Two sensitivities, or two specificities, count as the same if the interval of their difference stays within this.
SAME_SENSITIVITY, SAME_SPECIFICITY = 0.1, 0.02
# Smaller differences say nothing about the model: the clear images, and those with low scores, have some with signs.
SPECIFICITY_MATTERS, SCORES_MATTER = 0.005, 0.02
_OF_THE_MODEL = (Figure.SENSITIVITY, Figure.SPECIFICITY, Figure.SCORES)


class Cause(StrEnum):
    """What explains a change."""

    PATIENTS = "patients"
    MODEL = "model"
    BOTH = "both"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class _Shares:
    """A share before and after a change.

    Attributes:
        z: how clear the difference is, in standard errors.
        before: the share before the change.
        difference: after less before.
        low, high: the interval of the difference.
    """

    z: float
    before: float
    difference: float
    low: float
    high: float


def cause_of(figure: Figure, siblings: Sequence[Series], start: int, since: int, end: int) -> Cause:
    """Return what explains a change.

    Args:
        figure: the figure that changed.
        siblings: all series of the group of images in which it was found.
        start: the place of the first day of the time before.
        since: the place of the first day of the change.
        end: the place after the last day of the change.
    """
    shares = {
        each.figure: _shares(each, start, since, end)
        for each in siblings
        # Of several shares of drawn images, only one that held on both sides of the change can be compared.
        if sum(each.trials[start:since]) and sum(each.trials[since:end])
    }
    patients = Figure.FOUND in shares and abs(shares[Figure.FOUND].z) >= CLEAR
    same_sensitivity = _is_same(shares, Figure.SENSITIVITY)
    if figure in _OF_THE_MODEL or any(_differs(shares, one) for one in _OF_THE_MODEL):
        return Cause.BOTH if patients and same_sensitivity else Cause.MODEL
    if patients and same_sensitivity and _is_same(shares, Figure.SPECIFICITY):
        return Cause.PATIENTS
    return Cause.UNDECIDED


_OfFigure = Mapping[Figure, _Shares]


def _differs(shares: _OfFigure, figure: Figure) -> bool:
    """Return whether a figure of the model has clearly changed, by more than the patients explain."""
    if figure not in shares or abs(shares[figure].z) < CLEAR:
        return False
    low, high = _tolerated(shares, figure)
    return not low <= shares[figure].difference <= high


def _is_same(shares: _OfFigure, figure: Figure) -> bool:
    """Return whether the interval of the difference excludes one that matters."""
    if figure not in shares:
        return False
    low, high = _bounds_of_same(shares, figure)
    return low <= shares[figure].low and shares[figure].high <= high


def _tolerated(shares: _OfFigure, figure: Figure) -> tuple[float, float]:
    if figure == Figure.SENSITIVITY:
        return _bounds_of_same(shares, figure)
    matters = SPECIFICITY_MATTERS if figure == Figure.SPECIFICITY else SCORES_MATTER
    return -matters, matters


def _bounds_of_same(shares: _OfFigure, figure: Figure) -> tuple[float, float]:
    """Return which differences of a figure still count as the same.

    The share of missed images falls if more images have signs, because readers err: some of the missed ones have none, and
    their number stays. So if the share that is found grew by a factor, the sensitivity may have grown by its square root, which
    explains less than half of it; likewise if it fell.
    """
    if figure == Figure.SPECIFICITY:
        return -SAME_SPECIFICITY, SAME_SPECIFICITY
    low = high = SAME_SENSITIVITY
    if Figure.FOUND in shares and shares[Figure.FOUND].before > 0:
        found, missed = shares[Figure.FOUND], shares[Figure.SENSITIVITY]
        factor = math.sqrt(max(0.0, 1 + found.difference / found.before))
        grown = (1 - missed.before) * (factor - 1)
        # Series of sensitivity count the missed images: they fall if it grows.
        low, high = max(low, grown), max(high, -grown)
    return -low, high


def _shares(series: Series, start: int, since: int, end: int) -> _Shares:
    """Compare a share before and after; the interval of the difference is that of R. G. Newcombe (1998), method 10."""
    z = difference(series.events[start:end], series.trials[start:end], since - start)
    before, low, high = _share(series, start, since)
    after, later_low, later_high = _share(series, since, end)
    apart = after - before
    return _Shares(
        z,
        before,
        apart,
        apart - math.hypot(after - later_low, high - before),
        apart + math.hypot(later_high - after, before - low),
    )


def _share(series: Series, start: int, end: int) -> tuple[float, float, float]:
    """Return the share of events with its limits, each event counted for all images that it stands for."""
    events, trials = sum(series.events[start:end]), sum(series.trials[start:end])
    shares = events / trials, *proportion(events, trials)
    share, low, high = (one * series.weight / (one * series.weight + 1 - one) for one in shares)
    return share, low, high
