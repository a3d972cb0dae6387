"""Figures of labelled images that stand for different numbers of images, such as a site's readings with a sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.evaluation import exact
from training.evaluation.metrics import percentiles, resamples
from training.evaluation.ranking import Flags, Floats
from training.evaluation.scoring import ScoredImages
from worker.card.confusion import Case, Confusion, confusion


def weighted(images: ScoredImages, repeats: int, seed: int) -> dict[str, Any] | None:
    """Return recall, specificity, precision and prevalence with the weights of the table; None if it has no weights.

    Intervals are percentiles of the bootstrap over whole patients, with the weights as they are: what the weights
    themselves owe to chance is not in them. None is narrower than that of a perfect result on as many patients.
    """
    if all(radiograph.weight is None for radiograph in images.radiographs):
        return None
    scored, threshold = images.scored, images.point.threshold
    weights = [1.0 if radiograph.weight is None else radiograph.weight for radiograph in images.radiographs]
    labelled = zip(scored.p.tolist(), scored.pneumonia.tolist(), weights, strict=True)
    counted = confusion((Case(*one) for one in labelled), threshold)
    order = np.argsort(scored.p, kind="stable")
    masks, of_each = _masks(scored.pneumonia, scored.p >= threshold), np.array(weights)
    drawn = np.array(
        [
            _values(masks, of_each, sample, order)
            for sample in (one.weight for one in resamples(scored, repeats, seed))
        ]
    )
    section: dict[str, Any] = {"stands_for": counted.sick + counted.well, "confusion": _described(counted)}
    for column, (name, value) in enumerate(_figures(counted).items()):
        patients = scored.at(masks[name][1]).patients
        section[name] = value
        section[f"{name}_ci"] = _interval(value, drawn[:, column] if repeats else np.array([]), patients)
    return section


def _figures(counted: Confusion) -> dict[str, float | None]:
    total = counted.sick + counted.well
    return {
        "recall": counted.sensitivity,
        "specificity": counted.specificity,
        "precision": counted.ppv,
        "prevalence": counted.sick / total if total else None,
    }


def _masks(sick: Flags, positive: Flags) -> dict[str, tuple[Flags, Flags]]:
    """Return, by figure, which images have the property, and which are considered."""
    return {
        "recall": (sick & positive, sick),
        "specificity": (~sick & ~positive, ~sick),
        "precision": (sick & positive, positive),
        "prevalence": (sick, np.ones_like(sick)),
    }


def _values(masks: dict[str, tuple[Flags, Flags]], weights: Floats, times: Any, order: Any) -> list[float]:
    resampled = weights[order] * times
    return [
        float(resampled[part[order]].sum() / whole)
        if (whole := resampled[every[order]].sum()) > 0
        else np.nan
        for part, every in masks.values()
    ]


def _interval(value: float | None, drawn: Floats, patients: int) -> list[float | None]:
    if value is None:
        return [None, None]
    low, high = percentiles(drawn[~np.isnan(drawn)], value)
    least, most = exact.share(patients)
    return [min(low, value, least), max(high, value, most)]


def _described(counted: Confusion) -> dict[str, float]:
    return {
        "true_positive": counted.true_positive,
        "false_negative": counted.false_negative,
        "false_positive": counted.false_positive,
        "true_negative": counted.true_negative,
    }
