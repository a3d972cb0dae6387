"""Metrics of labelled scores, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation import exact, ranking
from training.evaluation.ranking import Counts, Flags, Floats, Ranking
from worker.card.confusion import Confusion

Metric = float | None
Measured = dict[str, Metric]

_LEVELS = (2.5, 97.5)
_CHANCES = 200


@dataclass(frozen=True)
class LabelledScores:
    """Images with their labels and scores; all attributes have length n.

    Attributes:
        pneumonia: the label.
        p: p_pneumonia, 0..1.
        subtype: 0 normal, 1 bacterial, 2 viral, -1 unknown.
        predicted: the most probable class, 0, 1 or 2.
        patient: number of the patient, from 0.
    """

    pneumonia: Flags
    p: Floats
    subtype: NDArray[np.int64]
    predicted: NDArray[np.int64]
    patient: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.p)

    @property
    def counts(self) -> Counts:
        """How often each image counts, shape (n,)."""
        return np.ones(len(self), dtype=np.int64)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(np.unique(self.patient))

    @property
    def ranking(self) -> Ranking:
        """The images in order of their score."""
        return Ranking.of(self.pneumonia, self.p, self.counts)

    def at(self, chosen: NDArray[np.int64] | Flags) -> LabelledScores:
        """Return the images at these indices (repeats allowed) or in this mask."""
        return LabelledScores(*(getattr(self, name)[chosen] for name in LabelledScores.__dataclass_fields__))


@dataclass(frozen=True)
class Resample(LabelledScores):
    """The same images, each counted as often as it was drawn.

    Attributes:
        weight: how often each image counts, from 0.
    """

    weight: Counts

    @property
    def counts(self) -> Counts:
        """How often each image counts, shape (n,)."""
        return self.weight


def measure(scored: LabelledScores, threshold: float) -> Measured:
    """Return all metrics of a set; None for a metric that is not defined because a class is missing.

    Sensitivity is named recall, as in scikit-learn. Brier score and calibration error are
    those of p_pneumonia.
    """
    tp, fn, fp, tn = confusion(scored, threshold).values()
    counted, total, ranked = Confusion(tp, fn, fp, tn, tp + fn, fp + tn), tp + fn + fp + tn, scored.ranking
    squares = (scored.p - scored.pneumonia) ** 2
    return {
        "auc": ranking.auc(ranked),
        "accuracy": counted.accuracy,
        "precision": counted.ppv,
        "recall": counted.sensitivity,
        "specificity": counted.specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity_at_specificity_90": ranking.sensitivity_at_specificity_90(ranked),
        "specificity_at_sensitivity_95": ranking.specificity_at_sensitivity_95(ranked),
        "ece": ranking.expected_calibration_error(ranked),
        "brier": _ratio(float((squares * scored.counts).sum()), total),
        "three_class_accuracy": _three_class_accuracy(scored),
    }


def auc(pneumonia: Flags, p: Floats) -> Metric:
    """Return the area under the ROC curve; both arguments have shape (n,). None if a class is missing."""
    return ranking.auc(Ranking.of(pneumonia, p, np.ones(len(p), dtype=np.int64)))


def confusion(scored: LabelledScores, threshold: float) -> dict[str, int]:
    """Count true_positive, false_negative, false_positive and true_negative."""
    positive, counts = scored.p >= threshold, scored.counts
    sick = np.where(scored.pneumonia, counts, 0)
    well = counts - sick
    return {
        "true_positive": int(sick[positive].sum()),
        "false_negative": int(sick[~positive].sum()),
        "false_positive": int(well[positive].sum()),
        "true_negative": int(well[~positive].sum()),
    }


def with_intervals(scored: LabelledScores, threshold: float, repeats: int, seed: int) -> dict[str, Any]:
    """Return all metrics, each with its 95 % interval under `<name>_ci`.

    The intervals are percentiles of a bootstrap over whole patients, because images of one patient are alike
    (Field and Welsh, JRSS B 69, 2007). DeLong's intervals of an AUC would need one image a patient.

    There are two departures. The calibration error is a sum of distances, which resampling can only enlarge,
    so its percentiles are moved back by the mean excess. And no interval of a share or of an AUC is narrower
    than that of a perfect result on as many patients (`training.evaluation.exact`), so that 30 of 30 is not a certain
    100 %. An interval always contains its metric. It is [None, None] if the metric is not defined. Resamples
    that lack a class are left out.
    """
    drawn = [measure(sample, threshold) for sample in resamples(scored, repeats, seed)]
    ends = _ends(scored, threshold)
    result: dict[str, Any] = {}
    for name, value in measure(scored, threshold).items():
        result[name] = value
        result[f"{name}_ci"] = _interval(name, value, [sample[name] for sample in drawn], ends.get(name))
    return result


def error_by_chance(scored: LabelledScores, seed: int) -> float:
    """Return the mean calibration error of a perfectly calibrated model on as many images.

    Labels are drawn from the scores themselves (Broecker and Smith, Weather and Forecasting 22,
    2007), image by image. Only the excess of a measured error over this one is bad.
    """
    rng = np.random.default_rng(seed)
    drawn = (rng.random(len(scored)) < scored.p for _ in range(_CHANCES))
    errors = [
        ranking.expected_calibration_error(Ranking.of(sample, scored.p, scored.counts)) for sample in drawn
    ]
    return float(np.mean([error for error in errors if error is not None]))


def resamples(scored: LabelledScores, repeats: int, seed: int) -> Iterator[Resample]:
    """Draw whole patients with replacement, and yield their images in order of their score."""
    ordered = scored.at(np.argsort(scored.p, kind="stable"))
    patients, place = np.unique(ordered.patient, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        times = np.bincount(rng.integers(0, len(patients), len(patients)), minlength=len(patients))
        yield Resample(**vars(ordered), weight=times[place])


def percentiles(drawn: Floats, value: float) -> tuple[float, float]:
    """Return the middle 95 % of the drawn values, or `value` twice if there are none."""
    if not len(drawn):
        return value, value
    low, high = np.percentile(drawn, _LEVELS)
    return float(low), float(high)


def _interval(name: str, value: Metric, drawn: Sequence[Metric], ends: exact.Ends | None) -> list[Metric]:
    if value is None:
        return [None, None]
    defined = np.array([sample for sample in drawn if sample is not None])
    if name == "ece" and len(defined):
        defined = np.maximum(defined - (defined.mean() - value), 0.0)
    low, high = percentiles(defined, value)
    least, most = ends or (1.0, 0.0)
    return [min(low, value, least), max(high, value, most)]


def _ends(scored: LabelledScores, threshold: float) -> dict[str, exact.Ends]:
    """Return the exact limits of perfect results by metric."""
    positive, sick = scored.p >= threshold, scored.pneumonia
    with_sick, with_well = scored.at(sick).patients, scored.at(~sick).patients
    return {
        "auc": exact.auc(with_sick, with_well),
        "accuracy": exact.share(scored.patients),
        "precision": exact.share(scored.at(positive).patients),
        "recall": exact.share(with_sick),
        "specificity": exact.share(with_well),
        "f1": exact.f1(scored.at(positive | sick).patients),
        "sensitivity_at_specificity_90": exact.share(with_sick),
        "specificity_at_sensitivity_95": exact.share(with_well),
        "three_class_accuracy": exact.share(scored.at(scored.subtype >= 0).patients),
    }


def _three_class_accuracy(scored: LabelledScores) -> Metric:
    # Without a known subtype among the pneumonias there are no three classes.
    counts = np.where(scored.subtype >= 0, scored.counts, 0)
    if not counts[scored.subtype > 0].any():
        return None
    return _ratio(int(counts[scored.predicted == scored.subtype].sum()), int(counts.sum()))


def _ratio(part: float, whole: float) -> Metric:
    return float(part / whole) if whole else None
