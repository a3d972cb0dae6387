"""Metrics of a ranking of images by score. Pure.

Each image has a weight, an integer: how often it counts. A resample of the bootstrap is the same images with
other weights, so it need not be sorted again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

ECE_BINS = 15
_PERCENT = 100
_LEAST_SPECIFICITY = 90
_LEAST_SENSITIVITY = 95


@dataclass(frozen=True)
class Ranking:
    """The distinct scores of a set, rising, and the number of images with each.

    Attributes:
        p: distinct scores, shape (k,).
        sick: images with pneumonia at each score, shape (k,).
        well: images without, shape (k,).
    """

    p: Floats
    sick: Counts
    well: Counts

    @staticmethod
    def of(pneumonia: Flags, p: Floats, weight: Counts) -> Ranking:
        """Rank images; all arguments have shape (n,)."""
        # Timsort needs one pass for a sorted set, such as a resample.
        order = np.argsort(p, kind="stable")
        sorted_p, sorted_weight = p[order], weight[order]
        starts = np.flatnonzero(np.diff(sorted_p, prepend=-np.inf))
        sick = np.where(pneumonia[order], sorted_weight, 0)
        return Ranking(sorted_p[starts], _summed(sick, starts), _summed(sorted_weight - sick, starts))

    @property
    def sick_below(self) -> Counts:
        """Images with pneumonia below each score, and below infinity, shape (k + 1,)."""
        return _running(self.sick)

    @property
    def well_below(self) -> Counts:
        """Images without pneumonia below each score, and below infinity, shape (k + 1,)."""
        return _running(self.well)

    @property
    def has_both(self) -> bool:
        """Whether the set has images with and without pneumonia."""
        return bool(self.sick.any() and self.well.any())


def auc(ranking: Ranking) -> float | None:
    """Return the area under the ROC curve, as the Mann-Whitney statistic; ties count half."""
    if not ranking.has_both:
        return None
    twice_below = 2 * ranking.well_below[:-1] + ranking.well
    return float((ranking.sick * twice_below).sum() / (2 * ranking.sick.sum() * ranking.well.sum()))


def sensitivity_at_specificity_90(ranking: Ranking) -> float | None:
    """Return the highest sensitivity of all thresholds with a specificity of 90 % or more."""
    if not ranking.has_both:
        return None
    sick, well = ranking.sick_below, ranking.well_below
    # With integers, because 0.9 * 70 is not exactly 63 in floating point.
    first = int(np.argmax(_PERCENT * well >= _LEAST_SPECIFICITY * well[-1]))
    return float((sick[-1] - sick[first]) / sick[-1])


def specificity_at_sensitivity_95(ranking: Ranking) -> float | None:
    """Return the highest specificity of all thresholds with a sensitivity of 95 % or more."""
    if not ranking.has_both:
        return None
    sick, well = ranking.sick_below, ranking.well_below
    enough = _PERCENT * (sick[-1] - sick) >= _LEAST_SENSITIVITY * sick[-1]
    return float(well[np.flatnonzero(enough)[-1]] / well[-1])


@dataclass(frozen=True)
class Bins:
    """Bins of equal mass of the images, in order of their score; arrays of shape (bins,).

    Attributes:
        count: images in each bin; counts differ by one at most.
        p: mean score.
        share: share of images with pneumonia, 0..1.
    """

    count: Counts
    p: Floats
    share: Floats


def equal_mass_bins(ranking: Ranking, bins: int = ECE_BINS) -> Bins:
    """Divide a set into bins of equal mass; into fewer if it has fewer images.

    Images of one score that fall into two bins are divided with the same share of pneumonia in both parts, so
    that the order of the files has no effect.
    """
    counted = _running(ranking.sick + ranking.well).astype(np.float64)
    sick = _running(ranking.sick).astype(np.float64)
    scores = np.concatenate(([0.0], np.cumsum(ranking.p * (ranking.sick + ranking.well))))
    total = int(counted[-1])
    count = np.full(min(bins, total), total // max(1, min(bins, total)), dtype=np.int64)
    count[: total - int(count.sum())] += 1
    edges = _running(count)
    summed_p, summed_sick = (np.diff(np.interp(edges, counted, cumulated)) for cumulated in (scores, sick))
    return Bins(count, summed_p / count, summed_sick / count)


def expected_calibration_error(ranking: Ranking) -> float | None:
    """Return the mean distance of score and frequency over 15 bins of equal mass (Nixon et al., 2019)."""
    bins = equal_mass_bins(ranking)
    if not len(bins.count):
        return None
    return float((np.abs(bins.p - bins.share) * bins.count).sum() / bins.count.sum())


def _summed(values: Counts, starts: NDArray[np.intp]) -> Counts:
    return np.add.reduceat(values, starts) if len(starts) else values[:0]


def _running(values: Counts) -> Counts:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values)))
