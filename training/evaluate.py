"""What a bundle is worth on labelled images, at its own default operating point.

Nothing is fitted here, and the bundle is run as the worker runs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from training.data import Loaded, Radiograph, load
from training.errors import WrongInput
from training.metrics import Measured, Scored, confusion, measure, with_intervals
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier, Scores
from worker.inference.preprocess import to_model_input
from worker.inference.triage import OperatingPoint, Verdict, triage

BOOTSTRAP = 1000
SEED = 20240607
# Smaller groups say more about who happened to be in them than about the model.
SMALLEST_GROUP = 20
_UNKNOWN_SUBTYPE = -1
_AGES = ((0, 18), (18, 40), (40, 60), (60, 75), (75, 200))
_OLDEST_BAND = 75


def evaluate(
    bundle: Bundle, radiographs: Sequence[Radiograph], *, repeats: int = BOOTSTRAP
) -> dict[str, Any]:
    """Score labelled images and measure.

    Args:
        bundle: the model.
        radiographs: at least one.
        repeats: of the bootstrap.

    Returns:
        The document of `nightread evaluate --json`. Images that the gate turns away are counted
        apart and are in no metric.

    Raises:
        WrongInput: not one of the images could be scored.
    """
    loaded = load(radiographs, bundle.side, to_model_input)
    if not loaded.radiographs:
        raise WrongInput("Not one of the images could be scored.")
    scores = Classifier(bundle).predict_batch(loaded.pixels)
    scored = as_scored(loaded.radiographs, scores)
    point = bundle.operating_point
    return {
        "model": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "n": len(scored),
        **with_intervals(scored, _measure_at(point), repeats, SEED),
        "confusion": confusion(scored, point.threshold),
        "operating_point": _described(point),
        "verdicts": _verdicts(scored, point),
        "turned_away": len(loaded.turned_away),
        "turned_away_reasons": _reasons(loaded),
        "patients": int(scored.patient.max()) + 1,
        "subgroups": _subgroups(loaded.radiographs, scored, point, repeats),
    }


def as_scored(radiographs: Sequence[Radiograph], scores: Scores) -> Scored:
    """Join what is known of images with what the model says."""
    patients = {name: place for place, name in enumerate(dict.fromkeys(each.patient for each in radiographs))}
    return Scored(
        pneumonia=np.array([each.pneumonia for each in radiographs]),
        p=scores.p_pneumonia,
        subtype=np.array(
            [_UNKNOWN_SUBTYPE if each.subtype is None else each.subtype for each in radiographs]
        ),
        predicted=scores.probabilities.argmax(axis=1),
        patient=np.array([patients[each.patient] for each in radiographs]),
    )


def age_band(age_years: str) -> str | None:
    """The band of an age in years, for instance `40-59`; None if it is not a number in 0..199."""
    try:
        age = float(age_years)
    except ValueError:
        return None
    for low, high in _AGES:
        if low <= age < high:
            return f"{low}+" if low == _OLDEST_BAND else f"{low}-{high - 1}"
    return None


def _measure_at(point: OperatingPoint) -> Callable[[Scored], Measured]:
    return lambda scored: measure(scored, point.threshold)


def _described(point: OperatingPoint) -> dict[str, Any]:
    return {
        "name": point.name,
        "threshold": point.threshold,
        "band_low": point.band_low,
        "band_high": point.band_high,
    }


def _verdicts(scored: Scored, point: OperatingPoint) -> dict[str, int]:
    counted = Counter(triage(float(p), point) for p in scored.p)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def _reasons(loaded: Loaded) -> dict[str, int]:
    return dict(Counter(code for _, code in loaded.turned_away))


def _subgroups(
    radiographs: Sequence[Radiograph], scored: Scored, point: OperatingPoint, repeats: int
) -> dict[str, dict[str, Any]]:
    """By trait and value; a group that is too small has its size and nothing else."""
    values = {
        "age": [age_band(each.traits.get("age_years", "")) for each in radiographs],
        "sex": [each.traits.get("sex") for each in radiographs],
        "view": [each.traits.get("view") for each in radiographs],
    }
    return {
        trait: {group: _subgroup(scored.at(_mask(of, group)), point, repeats) for group in _groups(of)}
        for trait, of in values.items()
        if any(of)
    }


def _groups(values: Sequence[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def _mask(values: Sequence[str | None], group: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([value == group for value in values])


def _subgroup(scored: Scored, point: OperatingPoint, repeats: int) -> dict[str, Any]:
    if len(scored) < SMALLEST_GROUP:
        return {"n": len(scored), "suppressed": True}
    return {"n": len(scored), **with_intervals(scored, _measure_at(point), repeats, SEED)}
