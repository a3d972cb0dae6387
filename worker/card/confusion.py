"""Sensitivity, specificity and predictive values of labelled scores. Pure.

`nightread evaluate` and the page of the thresholds take their figures from here, so that both say the same of the same
images, to the last digit: sums are exact before they are rounded (`math.fsum`), so the order of the images is nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Case(NamedTuple):
    """A score with its label.

    Attributes:
        score: p_pneumonia, 0..1.
        has_signs: the label.
        weight: for how many images it stands, more than 0.
    """

    score: float
    has_signs: bool
    weight: float = 1.0


@dataclass(frozen=True)
class Confusion:
    """The weights of labelled images by label and side; each is 0 or more.

    `sick` and `well` are the sums of both sides, which rounding can make differ from the sum of two sums.
    """

    true_positive: float
    false_negative: float
    false_positive: float
    true_negative: float
    sick: float
    well: float

    @property
    def sensitivity(self) -> float | None:
        """The share of the images with pneumonia that are positive; None without any."""
        return share(self.true_positive, self.sick)

    @property
    def specificity(self) -> float | None:
        """The share of the others that are negative; None without any."""
        return share(self.true_negative, self.well)

    @property
    def ppv(self) -> float | None:
        """The share with pneumonia of the positives, at the prevalence of these images; None without any."""
        return share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def accuracy(self) -> float | None:
        """The share of images on their right side; None without any."""
        return share(self.true_positive + self.true_negative, self.sick + self.well)


def confusion(cases: Iterable[Case], threshold: float) -> Confusion:
    """Count labelled scores: those at or above the threshold are positive."""
    return confusion_of((case.score >= threshold, case.has_signs, case.weight) for case in cases)


def confusion_of(cases: Iterable[tuple[bool, bool, float]]) -> Confusion:
    """Count images, of each of which is known whether it is positive, whether it has signs, and its weight."""
    weights: dict[tuple[bool, bool], list[float]] = {
        (positive, signs): [] for positive in (True, False) for signs in (True, False)
    }
    for is_positive, has_signs, weight in cases:
        weights[bool(is_positive), bool(has_signs)].append(weight)
    sums = {kind: math.fsum(of_kind) for kind, of_kind in weights.items()}
    return Confusion(
        true_positive=sums[True, True],
        false_negative=sums[False, True],
        false_positive=sums[True, False],
        true_negative=sums[False, False],
        sick=math.fsum(weights[True, True] + weights[False, True]),
        well=math.fsum(weights[True, False] + weights[False, False]),
    )


def share(part: float, whole: float) -> float | None:
    """Return part / whole; None if there is no whole."""
    return float(part / whole) if whole > 0 else None


def positive_predictive_value(sensitivity: float, false_alarms: float, prevalence: float) -> float | None:
    """Return the share with pneumonia of the positives, by Bayes' rule; None if nothing is positive.

    For the negative predictive value, exchange the roles of both classes: specificity, 1 - sensitivity and 1 -
    prevalence.

    Args:
        sensitivity: 0..1.
        false_alarms: 1 - specificity, 0..1.
        prevalence: the share of images with pneumonia, 0..1.
    """
    hits = prevalence * sensitivity
    return share(hits, hits + (1 - prevalence) * false_alarms)
