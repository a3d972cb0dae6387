"""Calibration of scores and choice of operating points, both on out-of-fold scores."""

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
    """A ROC curve; the thresholds decrease."""

    thresholds: Floats
    sensitivity: Floats
    specificity: Floats


@dataclass(frozen=True)
class Calibration:
    """Converts logits to probabilities: softmax((logits + bias) / temperature).

    Attributes:
        temperature: above 1 makes the model less confident.
        bias: of each class, shape (3,); it sums to 0.
    """

    temperature: float
    bias: Floats

    def probabilities(self, logits: Floats) -> Floats:
        """Return the probabilities of logits; both have shape (n, 3)."""
        return softmax((logits + self.bias) / self.temperature)


def calibrate(logits: Floats, targets: NDArray[np.float32], weights: Floats) -> Calibration:
    """Fit temperature and biases by the negative log-likelihood (Guo et al., ICML 2017).

    Args:
        logits: shape (n, 3).
        targets: shape (n, 3); each row sums to 1. Pneumonia of unknown kind is half bacterial, half viral.
        weights: of each image, shape (n,): see `prevalence_weights`.
    """
    share = weights / weights.sum()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        # The loss is convex in the inverse temperature and in bias over temperature.
        scaled = logits * parameters[0] + np.array([0.0, parameters[1], parameters[2]])
        p = softmax(scaled)
        error = (p - targets) * share[:, np.newaxis]
        value = -float((share[:, np.newaxis] * targets * np.log(np.maximum(p, 1e-12))).sum())
        return value, np.array([(error * logits).sum(), *error[:, 1:].sum(axis=0)])

    optimum = minimize(loss, np.array([1.0, 0.0, 0.0]), jac=True, bounds=[(0.1, 10), (-9, 9), (-9, 9)])
    temperature = float(1 / optimum.x[0])
    bias = np.array([0.0, *optimum.x[1:]]) * temperature
    return Calibration(temperature, bias - bias.mean())


def prevalence_weights(pneumonia: Flags, prevalence: float) -> Floats:
    """Return the weight of each image that gives pneumonia the stated prevalence, shape (n,)."""
    share = pneumonia.mean()
    return np.asarray(np.where(pneumonia, prevalence / share, (1 - prevalence) / (1 - share)))


def curve(pneumonia: Flags, p: Floats) -> Curve:
    """Return the ROC curve of p_pneumonia; both arguments have shape (n,)."""
    false_alarms, sensitivity, thresholds = roc_curve(pneumonia, p, drop_intermediate=False)
    return Curve(np.minimum(thresholds, 1.0), sensitivity, 1 - false_alarms)


def operating_points(pneumonia: Flags, p: Floats, recipe: CalibrateSection) -> dict[str, OperatingPoint]:
    """Choose the operating points.

    `balanced`: the threshold is the prevalence that the scores are calibrated for. At this score an image is
    as much evidence for pneumonia as against it. If the calibration is right, sensitivity + specificity has
    its maximum there (Youden's index). The maximum of the measured ROC curve would depend on chance.
    `screen`: the highest threshold that reaches the sensitivity of the recipe, but not above `balanced`.
    `rule-in`: the lowest threshold that reaches the specificity of the recipe, but not below `balanced`,
    so that it is the strictest of the three however good the model is.
    Each point flags from its own threshold. Its band of uncertainty begins at the threshold of the next more
    sensitive point; that of `screen` begins at the highest threshold that reaches the recipe's
    `screen_clear_sensitivity`. So a more sensitive point flags more and clears less.

    Args:
        pneumonia: shape (n,), with both classes in it.
        p: calibrated p_pneumonia, shape (n,).
        recipe: the section [calibrate].
    """
    roc = curve(pneumonia, p)
    balanced = recipe.prevalence
    sensitive = float(roc.thresholds[roc.sensitivity >= recipe.screen_sensitivity].max())
    specific = float(roc.thresholds[roc.specificity >= recipe.rule_in_specificity].min())
    clearing = float(roc.thresholds[roc.sensitivity >= recipe.screen_clear_sensitivity].max())
    screen, rule_in = min(sensitive, balanced), max(specific, balanced)
    bands = {
        "screen": (screen, min(clearing, screen), screen),
        "balanced": (balanced, screen, balanced),
        "rule-in": (rule_in, balanced, rule_in),
    }
    return {name: _point(name, bounds, pneumonia, p, recipe.prevalence) for name, bounds in bands.items()}


def second_look(p: Floats, recipe: CalibrateSection) -> SecondLook | None:
    """Return the range of scores whose images get a second look: those nearest to `balanced` in log-odds.

    Args:
        p: calibrated p_pneumonia of the first look, shape (n,).
        recipe: states the share of these scores; 0: no second look.
    """
    balanced = _log_odds(np.array(recipe.prevalence))
    reach = np.quantile(np.abs(_log_odds(p) - balanced), recipe.looked_at_again)
    low, high = (float(1 / (1 + np.exp(-(balanced + side * reach)))) for side in (-1, 1))
    return SecondLook(low, high) if recipe.looked_at_again and low < high else None


def _log_odds(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _point(
    name: str, bounds: tuple[float, float, float], pneumonia: Flags, p: Floats, prevalence: float
) -> OperatingPoint:
    threshold, low, high = bounds
    positive, flagged = p >= threshold, p >= high
    return OperatingPoint(
        name,
        threshold,
        low,
        high,
        sensitivity=float(positive[pneumonia].mean()),
        specificity=float(1 - positive[~pneumonia].mean()),
        flagged_share=float(np.average(flagged, weights=prevalence_weights(pneumonia, prevalence))),
    )
