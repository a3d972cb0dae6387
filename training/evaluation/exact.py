"""Exact limits of perfect results, where a bootstrap fails.

If all of 30 patients were classified correctly, every resample is perfect too, and the bootstrap's interval
is the single point 1. The functions here give the interval that a perfect result, or one without a single
success, really has. A result close to it cannot have a narrower one.
"""

from __future__ import annotations

import math

# The lower limit of a perfect result, and the upper one of a result of 0.
Ends = tuple[float, float]

_ONE_SIDED = 0.025
_STEPS = 60


def share(patients: int) -> Ends:
    """Return the exact limits of a share of n of n and of 0 of n (Clopper and Pearson, Biometrika 26, 1934).

    `patients` are counted, even if a patient has several images: those are no further evidence.
    """
    least = _ONE_SIDED ** (1 / patients) if patients else 0.0
    return least, 1 - least


def f1(patients: int) -> Ends:
    """Return the limits of F1, for patients who have pneumonia or were classified as positive.

    F1 = 2 s / (1 + s), where s is the share of true positives among those images.
    """
    least, most = share(patients)
    return 2 * least / (1 + least), 2 * most / (1 + most)


def auc(sick: int, well: int) -> Ends:
    """Return the limits of an AUC: the AUC at which these patients are separated perfectly once in forty times.

    With exponentially distributed scores, which Hanley and McNeil (Radiology 143, 1982) found to
    give cautious standard errors, AUC = 1 / (1 + h) for a ratio of hazards h, and the chance of no
    error is the expectation of exp(-h * sick * largest of `well` scores), a ratio of gamma
    functions. The result depends slightly on which class is which: the smaller AUC is used.

    Args:
        sick: patients with pneumonia.
        well: patients without.
    """
    least = min(_least_auc(sick, well), _least_auc(well, sick)) if sick and well else 0.0
    return least, 1 - least


def _least_auc(first: int, second: int) -> float:
    low, high = 0.0, 1e6
    for _ in range(_STEPS):
        hazard = (low + high) / 2
        if _log_chance(hazard * first, second) > math.log(_ONE_SIDED):
            low = hazard
        else:
            high = hazard
    return 1 / (1 + low)


def _log_chance(rate: float, count: int) -> float:
    """Return the logarithm of E[exp(-rate * largest of `count` standard exponential variables)]."""
    return math.lgamma(count + 1) + math.lgamma(rate + 1) - math.lgamma(count + rate + 1)
