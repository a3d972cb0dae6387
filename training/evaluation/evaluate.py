"""Metrics of a bundle on labelled images, at its own default operating point.

Nothing is fitted here, and the bundle runs as in the worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from training.data.radiographs import Radiograph
from training.evaluation import consequences
from training.evaluation.metrics import LabelledScores, confusion, error_by_chance, with_intervals
from training.evaluation.ranking import Flags
from training.evaluation.scoring import ScoredImages, labelled_scores, score_images
from training.evaluation.weighted import weighted
from worker.card.band import is_far
from worker.inference.bundle import LABELS, Bundle
from worker.inference.triage import OperatingPoint

__all__ = ["BOOTSTRAP", "SEED", "document_of", "evaluate", "labelled_scores", "pairs", "subgroups"]

BOOTSTRAP = 1000
SEED = 20240607
# The figures of smaller groups depend more on their members than on the model.
SMALLEST_GROUP = 20
FEWEST_PATIENTS = 10
_AGES = ((0, 18), (18, 40), (40, 60), (60, 75), (75, 200))
_OLDEST_BAND = 75


def evaluate(
    bundle: Bundle, radiographs: Sequence[Radiograph], *, repeats: int = BOOTSTRAP
) -> dict[str, Any]:
    """Score labelled images and compute all metrics.

    Args:
        bundle: the model.
        radiographs: at least one.
        repeats: of the bootstrap.

    Returns:
        The document of `nightread evaluate --json`. Images that the gate rejects are counted separately and
        are in no metric.

    Raises:
        ModelUnusable: the runtime cannot load the model.
        NothingScored: no image could be scored.
    """
    return document_of(score_images(bundle, radiographs), repeats=repeats)


def document_of(
    images: ScoredImages, *, prevalence: float | None = None, repeats: int = BOOTSTRAP
) -> dict[str, Any]:
    """Compute all metrics of scored images.

    Args:
        images: of `score_images`.
        prevalence: share of pneumonia where the model will be used, 0..1; None: only that of the set.
        repeats: of the bootstrap.
    """
    bundle, scored, point = images.bundle, images.scored, images.point
    prevalences = [float(scored.pneumonia.mean()), *([] if prevalence is None else [prevalence])]
    verdict_shares = consequences.verdict_shares(scored, point, repeats, SEED)
    return {
        "model": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "n": len(scored),
        **with_intervals(scored, point.threshold, repeats, SEED),
        "ece_by_chance": error_by_chance(scored, SEED),
        "confusion": confusion(scored, point.threshold),
        "weighted": weighted(images, repeats, SEED),
        "confusion_of_classes": _confusion_of_classes(scored),
        "operating_point": consequences.described(point),
        "operating_points": consequences.at_each_point(scored, bundle, repeats, SEED),
        "verdicts": consequences.counted(scored, point),
        "verdicts_by_truth": consequences.by_truth(scored, point),
        "per_1000": [consequences.per_1000(verdict_shares, share) for share in prevalences],
        "turned_away": len(images.rejected),
        "turned_away_reasons": dict(Counter(rejection.code for rejection in images.rejected)),
        # The number of images far from the training data; None: the model does not say.
        "far": None if images.scores.distance is None else sum(map(is_far, images.distances)),
        "patients": scored.patients,
        "prevalence": prevalences[0],
        "subgroups": subgroups(images.radiographs, scored, point, repeats),
        "subgroup_pairs": pairs(images.radiographs, scored, point, repeats),
        "bootstrap": {"unit": "patient", "repeats": repeats, "seed": SEED},
    }


def subgroups(
    radiographs: Sequence[Radiograph], scored: LabelledScores, point: OperatingPoint, repeats: int = BOOTSTRAP
) -> dict[str, dict[str, Any]]:
    """Return metrics by trait and value; for a group that is too small, only its size."""
    return {
        trait: {group: _subgroup(scored.at(mask), point, repeats) for group, mask in groups.items()}
        for trait, groups in _groups(radiographs).items()
    }


def pairs(
    radiographs: Sequence[Radiograph], scored: LabelledScores, point: OperatingPoint, repeats: int = BOOTSTRAP
) -> dict[str, dict[str, Any]]:
    """Return metrics by two traits at once, for instance `sex, view`; omit groups that are too small."""
    by_traits: dict[str, dict[str, Any]] = {}
    for (first, first_groups), (second, second_groups) in combinations(_groups(radiographs).items(), 2):
        both = {
            f"{one}, {other}": scored.at(mask & further)
            for one, mask in first_groups.items()
            for other, further in second_groups.items()
        }
        measured = {name: _subgroup(part, point, repeats) for name, part in both.items() if _is_enough(part)}
        if measured:
            by_traits[f"{first}, {second}"] = measured
    return by_traits


def age_band(age_years: str) -> str | None:
    """Return the band of an age in years, for instance `40-59`; None if it is not a number in 0..199."""
    try:
        age = float(age_years)
    except ValueError:
        return None
    for low, high in _AGES:
        if low <= age < high:
            return f"{low}+" if low == _OLDEST_BAND else f"{low}-{high - 1}"
    return None


def _groups(radiographs: Sequence[Radiograph]) -> dict[str, dict[str, Flags]]:
    """Return the masks of the groups by trait and value; omit traits that no image has."""
    values = {
        "age": [age_band(radiograph.traits.get("age_years", "")) for radiograph in radiographs],
        "sex": [radiograph.traits.get("sex") for radiograph in radiographs],
        "view": [radiograph.traits.get("view") for radiograph in radiographs],
    }
    return {
        trait: {group: np.array([value == group for value in of]) for group in sorted(filter(None, set(of)))}
        for trait, of in values.items()
        if any(of)
    }


def _subgroup(scored: LabelledScores, point: OperatingPoint, repeats: int) -> dict[str, Any]:
    if not _is_enough(scored):
        return {"n": len(scored), "suppressed": True}
    return {
        "n": len(scored),
        "patients": scored.patients,
        "prevalence": float(scored.pneumonia.mean()),
        **with_intervals(scored, point.threshold, repeats, SEED),
    }


def _is_enough(scored: LabelledScores) -> bool:
    fewest = min(scored.at(scored.pneumonia).patients, scored.at(~scored.pneumonia).patients)
    return len(scored) >= SMALLEST_GROUP and fewest >= FEWEST_PATIENTS


def _confusion_of_classes(scored: LabelledScores) -> dict[str, dict[str, int]] | None:
    """Count images by true class and by most probable class; return None without subtypes."""
    if not (scored.subtype > 0).any():
        return None
    return {
        truth: {
            predicted: int(((scored.subtype == row) & (scored.predicted == column)).sum())
            for column, predicted in enumerate(LABELS)
        }
        for row, truth in enumerate(LABELS)
    }
