"""How sure is sure, and where on its ROC curve the model is used.

Everything here is chosen on scores of patients that the scoring network was not shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import roc_curve

from training.recipe import CalibrateSection
from worker.inference.second_look import SecondLook
from worker.inference.softmax import softmax
from worker.inference.triage import OperatingPoint

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """A ROC curve: what each threshold gives, thresholds falling."""

    thresholds: Floats
    sensitivity: Floats
    specificity: Floats


@dataclass(frozen=True)
class Calibration:
    """What makes logits into probabilities: softmax((logits + bias) / temperature).

    Attributes:
        temperature: above 1 makes the model less sure of itself.
        bias: of each class, shape (3,), adding up to 0.
    """

    temperature: float
    bias: Floats

    def probabilities(self, logits: Floats) -> Floats:
        """Of logits (n, 3): probabilities (n, 3)."""
        return softmax((logits + self.bias) / self.temperature)


def calibrate(logits: Floats, targets: NDArray[np.float32], weights: Floats) -> Calibration:
    """The temperature and the biases with the smallest negative log-likelihood (Guo et al., ICML 2017).

    Args:
        logits: shape (n, 3).
        targets: shape (n, 3), each row adding up to 1; pneumonia of unknown kind is half of each.
        weights: how much each image counts, shape (n,): see `prevalence_weights`.
    """
    share = weights / weights.sum()

    def loss(free: Floats) -> tuple[float, Floats]:
        # In the inverse temperature and in bias over temperature the loss is convex.
        scaled = logits * free[0] + np.array([0.0, free[1], free[2]])
        p = softmax(scaled)
        error = (p - targets) * share[:, np.newaxis]
        value = -float((share[:, np.newaxis] * targets * np.log(np.maximum(p, 1e-12))).sum())
        return value, np.array([(error * logits).sum(), *error[:, 1:].sum(axis=0)])

    found = minimize(loss, np.array([1.0, 0.0, 0.0]), jac=True, bounds=[(0.1, 10), (-9, 9), (-9, 9)])
    temperature = float(1 / found.x[0])
    bias = np.array([0.0, *found.x[1:]]) * temperature
    return Calibration(temperature, bias - bias.mean())


def prevalence_weights(pneumonia: Flags, prevalence: float) -> Floats:
    """How much each image counts for pneumonia to have the prevalence that is stated, shape (n,)."""
    share = pneumonia.mean()
    return np.asarray(np.where(pneumonia, prevalence / share, (1 - prevalence) / (1 - share)))


def curve(pneumonia: Flags, p: Floats) -> Curve:
    """The ROC curve of p_pneumonia; both arguments have shape (n,)."""
    false_alarms, sensitivity, thresholds = roc_curve(pneumonia, p, drop_intermediate=False)
    return Curve(np.minimum(thresholds, 1.0), sensitivity, 1 - false_alarms)


def operating_points(pneumonia: Flags, p: Floats, recipe: CalibrateSection) -> dict[str, OperatingPoint]:
    """Choose the operating points.

    `balanced`: the prevalence that the scores are calibrated for. There an image speaks for
    pneumonia as much as for normal, and sensitivity + specificity is largest (Youden's index) as far
    as the calibration is right; read from a ROC curve, that place would be chance's.
    `screen`: the highest threshold that still has the sensitivity that the recipe asks for, and
    not above `balanced`.
    `rule-in`: the lowest threshold that has the specificity that the recipe asks for, and not
    below `balanced`, so that it is the strictest of the three however good the model is.
    The band of uncertainty reaches from `screen` to `rule-in` for `balanced`, and from the point's
    own threshold to that of `balanced` for the other two: `screen` clears nothing above its
    threshold, `rule-in` flags nothing below its own.

    Args:
        pneumonia: shape (n,), with both kinds in it.
        p: calibrated p_pneumonia, shape (n,).
        recipe: the section [calibrate].
    """
    roc = curve(pneumonia, p)
    balanced = recipe.prevalence
    sensitive = float(roc.thresholds[roc.sensitivity >= recipe.screen_sensitivity].max())
    specific = float(roc.thresholds[roc.specificity >= recipe.rule_in_specificity].min())
    screen, rule_in = min(sensitive, balanced), max(specific, balanced)
    bands = {
        "screen": (screen, screen, balanced),
        "balanced": (balanced, screen, rule_in),
        "rule-in": (rule_in, balanced, rule_in),
    }
    return {name: _point(name, bounds, pneumonia, p, recipe.prevalence) for name, bounds in bands.items()}


def second_look(p: Floats, recipe: CalibrateSection) -> SecondLook | None:
    """Which images are looked at again: those nearest to `balanced` in log-odds.

    Args:
        p: calibrated p_pneumonia of the first look, shape (n,).
        recipe: says how large their share of these scores is; 0: none.
    """
    balanced = _log_odds(np.array(recipe.prevalence))
    reach = np.quantile(np.abs(_log_odds(p) - balanced), recipe.looked_at_again)
    low, high = (float(1 / (1 + np.exp(-(balanced + side * reach)))) for side in (-1, 1))
    return SecondLook(low, high) if recipe.looked_at_again and low < high else None


def _log_odds(p: Floats) -> Floats:
    within = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(within / (1 - within)))


def _point(
    name: str, bounds: tuple[float, float, float], pneumonia: Flags, p: Floats, prevalence: float
) -> OperatingPoint:
    threshold, low, high = bounds
    called, flagged = p >= threshold, p >= high
    return OperatingPoint(
        name,
        threshold,
        low,
        high,
        sensitivity=float(called[pneumonia].mean()),
        specificity=float(1 - called[~pneumonia].mean()),
        flagged_share=float(np.average(flagged, weights=prevalence_weights(pneumonia, prevalence))),
    )
