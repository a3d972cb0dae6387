"""Calibration of scores and choice of operating points, on scores of patients that the network has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import roc_curve

from training.errors import WrongInput
from training.recipe import CalibrateSection
from worker.inference.second_look import SecondLook
from worker.inference.softmax import softmax
from worker.inference.triage import OperatingPoint

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Inverse temperature, and the last two biases over the temperature: where the fit starts, and its bounds.
_START = np.array([1.0, 0.0, 0.0])
_BOUNDS = ((0.1, 10), (-9, 9), (-9, 9))


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


@dataclass(frozen=True)
class Evidence:
    """Logits of one condition, with what they should say.

    Attributes:
        logits: shape (n, 3).
        targets: shape (n, 3); each row sums to 1. Pneumonia of unknown kind is half bacterial, half viral.
        weights: of each image, shape (n,): see `prevalence_weights`.
    """

    logits: Floats
    targets: NDArray[np.float32]
    weights: Floats


def pooled(conditions: Sequence[Evidence]) -> Evidence:
    """Return the evidence of all conditions as one."""
    return Evidence(
        np.concatenate([evidence.logits for evidence in conditions]),
        np.concatenate([evidence.targets for evidence in conditions]),
        np.concatenate([evidence.weights for evidence in conditions]),
    )


@dataclass(frozen=True)
class Labelled:
    """Calibrated p_pneumonia of the images of one condition, and their labels; both of shape (n,)."""

    pneumonia: Flags
    p: Floats


def calibrate(evidence: Evidence) -> Calibration:
    """Fit temperature and biases by the negative log-likelihood (Guo et al., ICML 2017)."""
    optimum = minimize(_loss, _START, args=(evidence,), jac=True, bounds=_BOUNDS)
    return _calibration(optimum.x)


def calibrate_worst(conditions: Sequence[Evidence]) -> Calibration:
    """Fit temperature and biases so that the largest negative log-likelihood of any condition is smallest.

    The problem is convex: the smallest bound that no loss exceeds (Boyd and Vandenberghe, Convex Optimization, 2004,
    section 4.1.3).

    Raises:
        WrongInput: the solver found no such place.
    """

    def room(place: Floats) -> Floats:
        return np.array([place[-1] - _loss(place[:-1], evidence)[0] for evidence in conditions])

    def room_slopes(place: Floats) -> Floats:
        return np.array([[*-_loss(place[:-1], evidence)[1], 1.0] for evidence in conditions])

    start = np.array([*_START, max(_loss(_START, evidence)[0] for evidence in conditions)])
    optimum = minimize(
        lambda place: (float(place[-1]), np.array([0.0] * len(_START) + [1.0])),
        start,
        jac=True,
        method="SLSQP",
        bounds=[*_BOUNDS, (None, None)],
        constraints={"type": "ineq", "fun": room, "jac": room_slopes},
        options={"maxiter": 500, "ftol": 1e-10},
    )
    if not (optimum.success and np.isfinite(optimum.x).all()):
        raise WrongInput(
            f"The calibration by the worst of {len(conditions)} conditions did not converge, so there is no temperature to write"
            f" into a card: {optimum.message}. Check the scores of these conditions. The networks trained so far are kept."
        )
    return _calibration(optimum.x[:-1])


def prevalence_weights(pneumonia: Flags, prevalence: float) -> Floats:
    """Return the weight of each image that gives pneumonia the stated prevalence, shape (n,)."""
    share = pneumonia.mean()
    return np.asarray(np.where(pneumonia, prevalence / share, (1 - prevalence) / (1 - share)))


def curve(pneumonia: Flags, p: Floats) -> Curve:
    """Return the ROC curve of p_pneumonia; both arguments have shape (n,)."""
    false_alarms, sensitivity, thresholds = roc_curve(pneumonia, p, drop_intermediate=False)
    return Curve(np.minimum(thresholds, 1.0), sensitivity, 1 - false_alarms)


def operating_points(
    pneumonia: Flags, p: Floats, recipe: CalibrateSection, conditions: Sequence[Labelled] = ()
) -> dict[str, OperatingPoint]:
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
    With conditions, a sensitivity or specificity is reached where each of them reaches it: the worst decides.

    Args:
        pneumonia: shape (n,), with both classes in it.
        p: calibrated p_pneumonia, shape (n,). What each point states is measured on these scores.
        recipe: the section [calibrate].
        conditions: scores to choose the points on, each with both classes; none: choose them on `p`.
    """
    rocs = [curve(scored.pneumonia, scored.p) for scored in conditions or [Labelled(pneumonia, p)]]
    balanced = recipe.prevalence
    sensitive = min(_highest_with_sensitivity(roc, recipe.screen_sensitivity) for roc in rocs)
    specific = max(_lowest_with_specificity(roc, recipe.rule_in_specificity) for roc in rocs)
    clearing = min(_highest_with_sensitivity(roc, recipe.screen_clear_sensitivity) for roc in rocs)
    screen, rule_in = min(sensitive, balanced), max(specific, balanced)
    bands = {
        "screen": (screen, min(clearing, screen), screen),
        "balanced": (balanced, screen, balanced),
        "rule-in": (rule_in, balanced, rule_in),
    }
    return {name: _point(name, bounds, pneumonia, p, recipe.prevalence) for name, bounds in bands.items()}


def lowest(conditions: Mapping[str, Labelled], threshold: float) -> dict[str, float | str]:
    """Return the lowest sensitivity and the lowest specificity of any condition, and the condition of each.

    Args:
        conditions: scores by name, each with both classes.
        threshold: images that score at or above it count as positive.
    """
    sensitivity = {
        name: float((scored.p[scored.pneumonia] >= threshold).mean()) for name, scored in conditions.items()
    }
    specificity = {
        name: float((scored.p[~scored.pneumonia] < threshold).mean()) for name, scored in conditions.items()
    }
    worst = min(sensitivity, key=lambda name: sensitivity[name])
    other = min(specificity, key=lambda name: specificity[name])
    return {
        "sensitivity": sensitivity[worst],
        "sensitivity_in": worst,
        "specificity": specificity[other],
        "specificity_in": other,
    }


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


def _loss(place: Floats, evidence: Evidence) -> tuple[float, Floats]:
    """Return the negative log-likelihood and its slopes.

    It is convex in the inverse temperature and in bias over temperature; `place` holds these, without the first bias,
    which is 0.
    """
    share = evidence.weights / evidence.weights.sum()
    scaled = evidence.logits * place[0] + np.array([0.0, place[1], place[2]])
    p = softmax(scaled)
    error = (p - evidence.targets) * share[:, np.newaxis]
    value = -float((share[:, np.newaxis] * evidence.targets * np.log(np.maximum(p, 1e-12))).sum())
    return value, np.array([(error * evidence.logits).sum(), *error[:, 1:].sum(axis=0)])


def _calibration(place: Floats) -> Calibration:
    temperature = float(1 / place[0])
    bias = np.array([0.0, *place[1:]]) * temperature
    return Calibration(temperature, bias - bias.mean())


def _highest_with_sensitivity(roc: Curve, sensitivity: float) -> float:
    return float(roc.thresholds[roc.sensitivity >= sensitivity].max())


def _lowest_with_specificity(roc: Curve, specificity: float) -> float:
    return float(roc.thresholds[roc.specificity >= specificity].min())


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
