"""The section `splits` of the card, and the conditions of which the worst decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.calibration.calibrate import Labelled, lowest
from training.evaluation.evaluate import BOOTSTRAP, SEED
from training.evaluation.metrics import LabelledScores, with_intervals
from worker.inference.triage import OperatingPoint

Scored = Mapping[str, LabelledScores]
_METRICS = ("auc", "recall", "specificity", "ece", "brier")


def labelled(scores: Mapping[str, Scored]) -> dict[str, Labelled]:
    """Return the scores of each condition, named after their set and condition.

    Args:
        scores: by set (the folder, or a split) and condition.
    """
    return {
        f"{name}, {condition}": Labelled(scored.pneumonia, scored.p)
        for name, by_condition in scores.items()
        for condition, scored in by_condition.items()
    }


def splits_section(
    scores: Mapping[str, Scored],
    trained_on: Mapping[str, int],
    conditions: Mapping[str, Labelled],
    points: Mapping[str, OperatingPoint],
    threshold: float,
) -> dict[str, Any]:
    """Return the figures of each split and condition, and the lowest ones of each operating point in any condition.

    Args:
        scores: of the held-out images, by split and condition.
        trained_on: number of the images that each split's network was trained on.
        conditions: all of which the worst decides: see `labelled`.
        points: operating points by name.
        threshold: of the default one, which the figures hold for.
    """
    held_out = {
        name: {
            "trained_on": trained_on[name],
            **{condition: _figures(scored, threshold) for condition, scored in by_condition.items()},
        }
        for name, by_condition in scores.items()
    }
    return {
        "held_out": held_out,
        "lowest": {name: lowest(conditions, point.threshold) for name, point in points.items()},
    }


def _figures(scored: LabelledScores, threshold: float) -> dict[str, Any]:
    """Return the metrics of a set with their intervals, from a bootstrap over whole patients."""
    figures = with_intervals(scored, threshold, BOOTSTRAP, SEED)
    return {
        "n": len(scored),
        "patients": scored.patients,
        "prevalence": float(scored.pneumonia.mean()),
        **{key: figures[key] for name in _METRICS for key in (name, f"{name}_ci")},
    }
