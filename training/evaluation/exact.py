"""What so many patients can show at the very most: the ends of the scale, where a bootstrap fails.

If all of 30 patients were judged rightly, each resample of them is perfect too, and the bootstrap's
interval is the point 1. Here is the interval that a perfect result, or one without a single
success, has nevertheless; a result close to it can have no narrower one.
"""

from __future__ import annotations

import math

# The lower limit of a perfect result, and the upper one of a result of 0.
Ends = tuple[float, float]

_ONE_SIDED = 0.025
_STEPS = 60


def share(patients: int) -> Ends:
    """Of a share: the exact limits of Clopper and Pearson (Biometrika 26, 1934) for n and 0 of n.

    Taken for patients, though a patient may have several images: those are no further evidence.
    """
    least = _ONE_SIDED ** (1 / patients) if patients else 0.0
    return least, 1 - least


def f1(patients: int) -> Ends:
    """Of F1, for patients who have pneumonia or were called positive.

    F1 = 2 s / (1 + s), where s is the share of true positives among those images.
    """
    least, most = share(patients)
    return 2 * least / (1 + least), 2 * most / (1 + most)


def auc(sick: int, well: int) -> Ends:
    """Of an AUC: where so many patients are told apart without an error once in forty times.

    With exponentially distributed scores, which Hanley and McNeil (Radiology 143, 1982) found to
    give cautious standard errors, AUC = 1 / (1 + h) for a ratio of hazards h, and the chance of no
    error is the expectation of exp(-h * sick * largest of `well` scores), a ratio of gamma
    functions. Which class is which matters a little: the smaller AUC is taken.

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
    """Logarithm of E[exp(-rate * largest of `count` standard exponential variables)]."""
    return math.lgamma(count + 1) + math.lgamma(rate + 1) - math.lgamma(count + rate + 1)
