"""How sure is sure, and where on its ROC curve the model is used.

Everything here is chosen on patients that were never trained on, under the stressed validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from training.recipe import Calibrate
from worker.inference.triage import OperatingPoint

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_TEMPERATURES = (0.1, 10.0)
_STEPS = 60


@dataclass(frozen=True)
class Curve:
    """A ROC curve: what each threshold gives, thresholds falling."""

    thresholds: Floats
    sensitivity: Floats
    specificity: Floats


def temperature(logits: Floats, targets: NDArray[np.float32]) -> float:
    """The temperature with the smallest negative log-likelihood (Guo et al., ICML 2017).

    Args:
        logits: shape (n, 3).
        targets: shape (n, 3), each row adding up to 1; pneumonia of unknown kind is half of each.
    """
    # The loss is convex in 1 / T, so its slope there changes sign once, and halving finds where.
    low, high = 1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _slope(logits, targets, middle) > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)


def _slope(logits: Floats, targets: NDArray[np.float32], inverse: float) -> float:
    """Derivative of the mean negative log-likelihood by the inverse temperature."""
    scaled = logits * inverse
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    return float(((p - targets) * logits).sum(axis=1).mean())


def curve(pneumonia: Flags, p: Floats) -> Curve:
    """The ROC curve of p_pneumonia; both arguments have shape (n,)."""
    false_alarms, sensitivity, thresholds = roc_curve(pneumonia, p, drop_intermediate=False)
    return Curve(np.minimum(thresholds, 1.0), sensitivity, 1 - false_alarms)


def operating_points(pneumonia: Flags, p: Floats, recipe: Calibrate) -> dict[str, OperatingPoint]:
    """Choose the operating points.

    `balanced`: where sensitivity + specificity is largest (Youden's index).
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
    balanced = float(roc.thresholds[np.argmax(roc.sensitivity + roc.specificity)])
    sensitive = float(roc.thresholds[roc.sensitivity >= recipe.screen_sensitivity].max())
    specific = float(roc.thresholds[roc.specificity >= recipe.rule_in_specificity].min())
    screen, rule_in = min(sensitive, balanced), max(specific, balanced)
    bands = {
        "screen": (screen, screen, balanced),
        "balanced": (balanced, screen, rule_in),
        "rule-in": (rule_in, balanced, rule_in),
    }
    return {name: _point(name, bounds, pneumonia, p) for name, bounds in bands.items()}


def _point(name: str, bounds: tuple[float, float, float], pneumonia: Flags, p: Floats) -> OperatingPoint:
    threshold, low, high = bounds
    called = p >= threshold
    return OperatingPoint(
        name,
        threshold,
        low,
        high,
        sensitivity=float(called[pneumonia].mean()),
        specificity=float(1 - called[~pneumonia].mean()),
        flagged_share=float((p >= high).mean()),
    )
