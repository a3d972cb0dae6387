"""Says what explains a change: other patients, or the model or its images. Undecided where the readings do not tell. Pure.

Another prevalence changes how many images are flagged and found, but neither which share the model finds of the images with
signs (sensitivity), nor which share it flags of the others (1 - specificity). So:

- if sensitivity, specificity or the low scores changed, the model or the images did;
- if the share with signs changed, and sensitivity and specificity are known to be the same, the patients did;
- else it is undecided. That no difference was found does not suffice: the interval of each difference must exclude one that
  matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.monitor.changes import difference
from worker.monitor.figures import Figure, Series
from worker.monitor.weighted import proportion

# A difference is clear from so many standard errors on. Few figures are asked, about a change that is known to be one.
CLEAR = 3.0
# Two sensitivities, or two specificities, count as the same if the interval of their difference stays within this.
SAME = {Figure.SENSITIVITY: 0.1, Figure.SPECIFICITY: 0.02}
# Smaller differences are none of the model: clear images with signs, and low scores of images with signs, are not quite rare.
MATTERS = {Figure.SENSITIVITY: 0.0, Figure.SPECIFICITY: 0.005, Figure.SCORES: 0.02}


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
        difference: after less before.
        low, high: the interval of the difference.
    """

    z: float
    difference: float
    low: float
    high: float


def cause_of(siblings: Sequence[Series], start: int, since: int, end: int) -> Cause:
    """Return what explains a change.

    Args:
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
    patients = Figure.PREVALENCE in shares and abs(shares[Figure.PREVALENCE].z) >= CLEAR
    if any(_differs(shares, figure) for figure in MATTERS):
        return Cause.BOTH if patients and _is_same(shares, Figure.SENSITIVITY) else Cause.MODEL
    if patients and all(_is_same(shares, figure) for figure in SAME):
        return Cause.PATIENTS
    return Cause.UNDECIDED


def _differs(shares: dict[Figure, _Shares], figure: Figure) -> bool:
    if figure not in shares:
        return False
    return abs(shares[figure].z) >= CLEAR and abs(shares[figure].difference) >= MATTERS[figure]


def _is_same(shares: dict[Figure, _Shares], figure: Figure) -> bool:
    if figure not in shares:
        return False
    return -SAME[figure] <= shares[figure].low and shares[figure].high <= SAME[figure]


def _shares(series: Series, start: int, since: int, end: int) -> _Shares:
    """Compare a share before and after; the interval of the difference is that of R. G. Newcombe (1998), method 10."""
    z = difference(series.events[start:end], series.trials[start:end], since - start)
    before, low, high = _share(series, start, since)
    after, later_low, later_high = _share(series, since, end)
    apart = after - before
    return _Shares(
        z,
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
