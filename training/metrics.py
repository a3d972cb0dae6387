"""What a set of scores is worth, and how sure that is. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Metric = float | None
Measured = dict[str, Metric]

ECE_BINS = 15
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_LEAST_SPECIFICITY = 0.90
_LEAST_SENSITIVITY = 0.95


@dataclass(frozen=True)
class Scored:
    """Images with their truth and their scores, all of length n.

    Attributes:
        pneumonia: the truth.
        p: p_pneumonia, 0..1.
        subtype: 0 normal, 1 bacterial, 2 viral, -1 unknown.
        predicted: the class with the largest probability, 0, 1 or 2.
        patient: whose image it is, as numbers from 0.
    """

    pneumonia: Flags
    p: Floats
    subtype: NDArray[np.int64]
    predicted: NDArray[np.int64]
    patient: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.p)

    def at(self, chosen: NDArray[np.int64] | Flags) -> Scored:
        """Some of the images, by index (repeats allowed) or by mask."""
        return Scored(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def measure(scored: Scored, threshold: float) -> Measured:
    """All metrics of a set; None where a metric is not defined, for want of a class.

    Sensitivity is called recall, as scikit-learn does. Brier score and calibration error are
    those of p_pneumonia.
    """
    tp, fn, fp, tn = confusion(scored, threshold).values()
    known = scored.subtype >= 0
    sensitivity_at, specificity_at = _points_on_curve(scored)
    return {
        "auc": auc(scored.pneumonia, scored.p),
        "accuracy": _ratio(tp + tn, len(scored)),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity_at_specificity_90": sensitivity_at,
        "specificity_at_sensitivity_95": specificity_at,
        "ece": expected_calibration_error(scored.pneumonia, scored.p),
        "brier": _ratio(float(((scored.p - scored.pneumonia) ** 2).sum()), len(scored)),
        "three_class_accuracy": _three_class_accuracy(scored.at(known)),
    }


def confusion(scored: Scored, threshold: float) -> dict[str, int]:
    """Counts of true_positive, false_negative, false_positive, true_negative."""
    called = scored.p >= threshold
    sick = scored.pneumonia
    return {
        "true_positive": int((called & sick).sum()),
        "false_negative": int((~called & sick).sum()),
        "false_positive": int((called & ~sick).sum()),
        "true_negative": int((~called & ~sick).sum()),
    }


def auc(pneumonia: Flags, p: Floats) -> Metric:
    """Area under the ROC curve, as the Mann-Whitney statistic; ties count half."""
    sick, well = p[pneumonia], np.sort(p[~pneumonia])
    if not len(sick) or not len(well):
        return None
    below, not_above = (np.searchsorted(well, sick, side=side) for side in _SIDES)
    return float((below.sum() + not_above.sum()) / (2 * len(sick) * len(well)))


def expected_calibration_error(pneumonia: Flags, p: Floats) -> Metric:
    """Mean distance of score and frequency over 15 bins of equal mass (Nixon et al., 2019)."""
    if not len(p):
        return None
    order = np.argsort(p, kind="stable")
    bins = [part for part in np.array_split(order, ECE_BINS) if len(part)]
    gaps = [abs(float(p[part].mean() - pneumonia[part].mean())) * len(part) for part in bins]
    return sum(gaps) / len(p)


def with_intervals(
    scored: Scored,
    measured: Callable[[Scored], Measured],
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    """Metrics, each with a 95 % interval beside it under `<name>_ci`.

    Whole patients are drawn with replacement, since images of one patient are alike (Field and
    Welsh, 2007). An interval is [None, None] where the metric itself is not defined.
    """
    drawn = [measured(sample) for sample in _resampled(scored, repeats, seed)]
    result: dict[str, Any] = {}
    for name, value in measured(scored).items():
        result[name] = value
        result[f"{name}_ci"] = _interval([each[name] for each in drawn] if value is not None else [])
    return result


def _resampled(scored: Scored, repeats: int, seed: int) -> list[Scored]:
    rng = np.random.default_rng(seed)
    order = np.argsort(scored.patient, kind="stable")
    patients = np.split(order, np.unique(scored.patient[order], return_index=True)[1][1:])
    draws = rng.integers(0, len(patients), (repeats, len(patients)))
    return [scored.at(np.concatenate([patients[i] for i in draw])) for draw in draws]


def _interval(values: Sequence[Metric]) -> list[Metric]:
    defined = [value for value in values if value is not None]
    if not defined:
        return [None, None]
    low, high = np.percentile(defined, (2.5, 97.5))
    return [float(low), float(high)]


def _points_on_curve(scored: Scored) -> tuple[Metric, Metric]:
    """Best sensitivity where specificity >= 90 %, best specificity where sensitivity >= 95 %."""
    sick, well = np.sort(scored.p[scored.pneumonia]), np.sort(scored.p[~scored.pneumonia])
    if not len(sick) or not len(well):
        return None, None
    thresholds = np.append(np.unique(scored.p), np.inf)
    sensitivity = 1 - np.searchsorted(sick, thresholds, side="left") / len(sick)
    specificity = np.searchsorted(well, thresholds, side="left") / len(well)
    return (
        float(sensitivity[specificity >= _LEAST_SPECIFICITY].max()),
        float(specificity[sensitivity >= _LEAST_SENSITIVITY].max()),
    )


def _three_class_accuracy(known: Scored) -> Metric:
    # Without a known subtype among the pneumonias there are not three classes to tell apart.
    if not (known.subtype > 0).any():
        return None
    return float((known.predicted == known.subtype).mean())


def _ratio(part: float, whole: float) -> Metric:
    return float(part / whole) if whole else None
