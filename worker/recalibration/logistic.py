"""Logistic recalibration: log-odds of the recalibrated probability = intercept + slope x log-odds of the score. Pure.

The two numbers are those of J. C. Platt, Advances in Large Margin Classifiers (1999), 61-74, and of D. R. Cox, Biometrika 45
(1958), 562-565; for a model that moves to another hospital: E. W. Steyerberg et al., Statistics in Medicine 23 (2004),
2567-2586, who also shrink them towards no change, so that few images change little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Scores nearer to 0 or 1 count as this far away: their log-odds would be infinite.
NEAREST = 1e-6
# The prior standard deviations of intercept and slope around 0 and 1. A quarter as many cases with signs as elsewhere is a
# step of 1.4 in log-odds, so 2 hardly limits the intercept; a slope of 0.5 or 1.5 is already unusual.
SD_INTERCEPT, SD_SLOPE = 2.0, 0.5
_PENALTY = (SD_INTERCEPT**-2, SD_SLOPE**-2)
# Almost no penalty: only for figures that say how a probability is calibrated. It keeps them finite.
_FREE = (1e-4, 1e-4)
_FIXED_SLOPE = (1e-4, 1e12)
# Convergence is quadratic: after a step this short, what is left is shorter than rounding.
_ROUNDS, _LONGEST_STEP, _CLOSE = 60, 1.0, 1e-7
# Resamples that are fitted together: their arrays fit into the cache of a processor.
_TOGETHER = 50


@dataclass(frozen=True)
class Recalibration:
    """The map of a score to a probability at this site. The slope is above 0, so the order of scores stays.

    Raises ValueError for numbers that cannot work.
    """

    intercept: float
    slope: float

    def __post_init__(self) -> None:
        """Check the values; NaN is none."""
        if not (math.isfinite(self.intercept) and math.isfinite(self.slope) and self.slope > 0):
            raise ValueError("the intercept must be a number, and the slope a number above 0")

    def probability(self, score: float) -> float:
        """Return the recalibrated probability of a score; both are 0..1."""
        return inverse_log_odds(self.intercept + self.slope * log_odds(score))

    def score(self, log_odds_here: float) -> float:
        """Return the score whose recalibrated probability has these log-odds."""
        return inverse_log_odds((log_odds_here - self.intercept) / self.slope)


def log_odds(p: float) -> float:
    """Return ln(p / (1 - p)). A probability nearer to 0 or 1 than `NEAREST` counts as that far away."""
    inside = min(max(p, NEAREST), 1 - NEAREST)
    return math.log(inside / (1 - inside))


def inverse_log_odds(value: float) -> float:
    """Return the probability with these log-odds."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))


def effective(weights: Floats) -> Floats:
    """Return how many equally weighted cases tell as much, for each row: L. Kish, Survey Sampling (1965)."""
    return np.asarray(weights.sum(axis=-1) ** 2 / np.maximum((weights**2).sum(axis=-1), 1e-300))


def fit(scores: Floats, signs: Floats, weights: Floats) -> Floats:
    """Return intercept and slope for each row of weights, shape (rows, 2); NaN where no optimum was found.

    They minimise the weighted negative log-likelihood plus half of (intercept / `SD_INTERCEPT`)^2 and half of
    ((slope - 1) / `SD_SLOPE`)^2. The weights of a row are scaled to add up to its effective number of cases, so that a drawn
    image that stands for a hundred is no hundred images.

    Args:
        scores: 0..1, shape (n,).
        signs: 1.0 for signs, 0.0 for none, shape (n,).
        weights: 0 or more, shape (rows, n).
    """
    totals = weights.sum(axis=1, keepdims=True)
    scaled = weights / np.maximum(totals, 1e-300) * effective(weights)[:, np.newaxis]
    return _optimum(scores, signs, scaled, _PENALTY)


def calibration_intercept(p: Floats, signs: Floats, weights: Floats) -> Floats:
    """Return the calibration intercept for each row of weights: 0 if as many have signs as the probabilities say.

    It is the shift of the log-odds that fits best (Cox 1958). Arguments as in `fit`; shape (rows,).
    """
    return _optimum(p, signs, _per_case(weights), _FIXED_SLOPE)[:, 0]


def calibration_slope(p: Floats, signs: Floats, weights: Floats) -> Floats:
    """Return the calibration slope for each row of weights: below 1 if probabilities are too far from the middle.

    Arguments as in `fit`; shape (rows,).
    """
    return _optimum(p, signs, _per_case(weights), _FREE)[:, 1]


def _per_case(weights: Floats) -> Floats:
    return np.asarray(weights / np.maximum(weights.mean(axis=1, keepdims=True), 1e-300))


def _optimum(p: Floats, signs: Floats, weights: Floats, penalty: tuple[float, float]) -> Floats:
    """Minimise by Newton's method. The objective is convex, so an optimum is the only one."""
    inside = np.clip(p, NEAREST, 1 - NEAREST)
    z = np.log(inside / (1 - inside))
    # Resamples have optima near that of the first row: from there, few rounds are left.
    first = _newton(z, signs, weights[:1], penalty, np.array([0.0, 1.0]))
    start = first[0] if np.isfinite(first).all() else np.array([0.0, 1.0])
    parts = [
        _newton(z, signs, weights[place : place + _TOGETHER], penalty, start)
        for place in range(1, len(weights), _TOGETHER)
    ]
    return np.concatenate([first, *parts])


def _newton(z: Floats, signs: Floats, weights: Floats, penalty: tuple[float, float], start: Floats) -> Floats:
    found = np.tile(start, (len(weights), 1))
    last = np.full(len(weights), np.inf)
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-(found[:, :1] + found[:, 1:] * z)))
        errors, spread = weights * (p - signs), weights * p * (1 - p)
        slope_a = errors.sum(axis=1) + penalty[0] * found[:, 0]
        slope_b = errors @ z + penalty[1] * (found[:, 1] - 1)
        aa, ab, bb = spread.sum(axis=1) + penalty[0], spread @ z, spread @ (z * z) + penalty[1]
        determinant = aa * bb - ab * ab
        step = np.stack([bb * slope_a - ab * slope_b, aa * slope_b - ab * slope_a], axis=1)
        step /= determinant[:, np.newaxis]
        last = np.sqrt((step**2).sum(axis=1))
        # Far from the optimum, a whole step of Newton's method can go past it.
        found = found - step * np.minimum(1, _LONGEST_STEP / np.maximum(last, 1e-300))[:, np.newaxis]
        if (last < _CLOSE).all():
            break
    found[~(last < _CLOSE)] = np.nan
    return found
