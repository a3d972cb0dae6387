"""A model's card for tests and pictures: its figures are measured for real, on scores that are drawn."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

import numpy as np

from training.evaluation.metrics import Scored, with_intervals
from training.export import card
from training.recipe import RECIPES

THRESHOLDS = {"screen": 0.3, "balanced": 0.5, "rule-in": 0.62}
_REPEATS = 60


@cache
def a_card(sha256: str = "5f" * 32) -> dict[str, Any]:
    """A whole card, as `training.export.release` writes one; not to be changed."""
    plain, stressed, adults = _drawn(1, 900, 4.2), _drawn(2, 900, 3.6), _drawn(3, 400, 1.1)
    sets = {"children": plain, "children_stressed": stressed, "adults": adults}
    metrics = {name: _measured(scored) for name, scored in sets.items()}
    metrics["adults"] |= {"turned_away": 2, "subgroups": _subgroups(adults)}
    metrics["parity_with_reference"] = {"images": 900, "mean_difference": 0.0027, "same_side": 0.999}
    return {
        "card_version": 1,
        "name": "nightread",
        "version": "0.1.0",
        "preliminary": False,
        "intended_use": card.INTENDED_USE,
        "not_for": list(card.NOT_FOR),
        "limits": card.limits(128, metrics),
        "input": {"side": 128, "preprocessing_version": "1"},
        "calibration": {"temperature": 0.95, "rule": "Least negative log-likelihood."},
        "operating_points": {name: _point(stressed, name) for name in THRESHOLDS},
        "default_operating_point": "balanced",
        "operating_point_rule": "Three thresholds, for the tests.",
        "metrics": metrics,
        "spread": {"children": {"auc": {"mean": 0.995, "sd": 0.0004, "values": [0.9946, 0.995, 0.9954]}}},
        "gate": {"chests": 5216, "turned_away_share": 0.0008},
        "curves": card.curve_points(sets),
        "data": {"trained_on": _data()},
        "recipe": {"fit": {"epochs": 34, "seed": 4242, "ema": 0.998}, "teacher": {"network": {"side": 128}}},
        "training": {
            "seeds": [17, 4242],
            "minutes": 18.6,
            "history": [{"loss": 1.1}, {"loss": 0.9}],
            "ablations": [{"step": "plain", "auc": 0.99}, {"step": "mixup", "auc": 0.992}],
        },
        "plots": list(card.PLOTS),
        "files": {"model.tflite": {"sha256": sha256, "bytes": 888_584}},
    }


def _data() -> list[dict[str, str]]:
    """The data sets of the shipped recipe."""
    recipe = tomllib.loads((RECIPES / "nightread.toml").read_text(encoding="utf-8"))
    return [
        {key: each[key] for key in ("name", "source", "licence", "note")} for each in recipe["data"].values()
    ]


def _drawn(seed: int, count: int, apart: float) -> Scored:
    """Scores of so many images, half of them with pneumonia, two a patient."""
    rng = np.random.default_rng(seed)
    subtype = np.arange(count) % 4 % 3
    pneumonia = subtype > 0
    p = 1 / (1 + np.exp(-(apart * (pneumonia - 0.5) + rng.logistic(0, 0.6, count))))
    return Scored(
        pneumonia, p, subtype, np.where(p > THRESHOLDS["balanced"], subtype, 0), np.arange(count) // 2
    )


def _measured(scored: Scored) -> dict[str, Any]:
    figures = with_intervals(scored, THRESHOLDS["balanced"], _REPEATS, 1)
    patients = len(np.unique(scored.patient))
    return {"n": len(scored), "patients": patients, "prevalence": float(scored.pneumonia.mean()), **figures}


def _subgroups(scored: Scored) -> dict[str, Any]:
    half = np.arange(len(scored)) < len(scored) // 2
    groups = {"F": _measured(scored.at(half)), "M": _measured(scored.at(~half))}
    return {"sex": groups, "age": {"18-39": groups["F"], "75+": {"n": 10, "suppressed": True}}}


def _point(scored: Scored, name: str) -> dict[str, float]:
    called = scored.p >= THRESHOLDS[name]
    return {
        "threshold": THRESHOLDS[name],
        "band_low": THRESHOLDS["screen"],
        "band_high": THRESHOLDS["rule-in"],
        "sensitivity": float(called[scored.pneumonia].mean()),
        "specificity": float(1 - called[~scored.pneumonia].mean()),
        "flagged_share": float((scored.p >= THRESHOLDS["rule-in"]).mean()),
    }
