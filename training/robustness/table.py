"""The robustness table: the change of sensitivity and specificity in each cell, with intervals. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation import exact
from training.evaluation.metrics import percentiles
from training.robustness.changes import Change
from training.robustness.measuring import Answer, Measured
from worker.inference.triage import Verdict

Json = dict[str, Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

BOOTSTRAP = 1000
SEED = 20261127
# A cell is worse if unmarked images lower the sensitivity or the specificity by more than this.
LIMIT = 0.05
CLASSES = {"sensitivity": True, "specificity": False}


def table(measured: Measured, *, repeats: int = BOOTSTRAP) -> Json:
    """Return the document of `nightread robustness --json`.

    A cell compares the changed images with the same images untouched, at the threshold of the default operating
    point. `sensitivity_change` and `specificity_change` count the images that are scored in both. The
    `unmarked_..._change` count every image of the class, and an image that is rejected or marked as no change. The
    intervals are percentiles of a bootstrap over whole patients; all cells share its draws.

    Args:
        measured: the answers.
        repeats: of the bootstrap.
    """
    bundle, point = measured.bundle, measured.bundle.operating_point
    sick = np.array([radiograph.pneumonia for radiograph in measured.radiographs])
    before = _correct(measured.untouched, sick, point.threshold)
    draws = _Draws([radiograph.patient for radiograph in measured.radiographs], repeats)
    cells = [
        _cell(change, measured.untouched, answers, (sick, before), point.threshold, draws)
        for change, answers in zip(measured.changes, measured.answers, strict=True)
    ]
    return {
        "model": {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256},
        "operating_point": {"name": point.name, "threshold": point.threshold},
        "n": len(sick),
        "patients": draws.patients,
        "pneumonia": int(sick.sum()),
        **{name: _share(before[sick == value]) for name, value in CLASSES.items()},
        "marked_untouched": sum(bool(answer.marks) for answer in measured.untouched),
        "rejected_untouched": [
            {"file": radiograph.path.name, "reason": code} for radiograph, code in measured.rejected
        ],
        "limit": LIMIT,
        "cells": cells,
        "worse_without_mark": [cell["name"] for cell in cells if cell["worse_without_mark"]],
        "not_caught": [cell["name"] for cell in cells if cell["must_be_caught"] and cell["caught"] < 1],
        "bootstrap": {"unit": "patient", "repeats": repeats, "seed": SEED},
    }


class _Draws:
    """Resamples of whole patients, the same for all cells."""

    def __init__(self, names: Sequence[str], repeats: int) -> None:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self.patient = np.array([numbers[name] for name in names])
        self.patients = len(numbers)
        rng = np.random.default_rng(SEED)
        times = rng.multinomial(self.patients, np.full(self.patients, 1 / self.patients), repeats)
        self._weights = times[:, self.patient].astype(np.float64)

    def interval(self, change: Floats, chosen: Flags) -> list[float | None]:
        """Return the interval of the mean change of the chosen images.

        Where all images changed alike (or none did), the bootstrap sees no spread: then the exact limits of a share of
        none replace it.
        """
        if not chosen.any():
            return [None, None]
        part, first = change * chosen, float(change[chosen][0])
        if (change[chosen] == first).all():
            most = exact.share(len(np.unique(self.patient[chosen])))[1]
            return [max(-1.0, first - most), min(1.0, first + most)]
        wholes = self._weights @ chosen.astype(np.float64)
        drawn = (self._weights @ part)[wholes > 0] / wholes[wholes > 0]
        return list(percentiles(drawn, float(part.sum() / chosen.sum())))


def _cell(
    change: Change,
    untouched: Sequence[Answer],
    answers: Sequence[Answer],
    labels: tuple[Flags, Flags],
    threshold: float,
    draws: _Draws,
) -> Json:
    sick, before = labels
    scored = np.array([answer.rejection is None for answer in answers])
    marked = np.array([bool(answer.marks) for answer in answers])
    difference = _correct(answers, sick, threshold).astype(np.float64) - before
    unmarked = np.where(scored & ~marked, difference, 0.0)
    cell: Json = {
        "series": change.series,
        "amount": change.amount,
        "unit": change.unit,
        "name": change.name,
        "rejected": _share(~scored),
        "rejected_reasons": dict(Counter(answer.rejection for answer in answers if answer.rejection)),
        "marked": _share(marked),
        "marks": dict(Counter(mark for answer in answers for mark in answer.marks)),
        "must_be_caught": change.must_be_caught,
        "caught": _share(marked | ~scored),
        "became_clear": _became_clear(untouched, answers, sick),
    }
    for name, value in CLASSES.items():
        of_class = sick == value
        for key, values, chosen in (
            (f"{name}_change", difference, of_class & scored),
            (f"unmarked_{name}_change", unmarked, of_class),
        ):
            cell[key] = float(values[chosen].mean()) if chosen.any() else None
            cell[f"{key}_ci"] = draws.interval(values, chosen)
    unmarked_changes = (cell[f"unmarked_{name}_change"] for name in CLASSES)
    cell["worse_without_mark"] = any(value is not None and value < -LIMIT for value in unmarked_changes)
    return cell


def _became_clear(untouched: Sequence[Answer], answers: Sequence[Answer], sick: Flags) -> Json:
    """Count the images with pneumonia that are clear now, of those that are not clear untouched."""
    at_risk = [
        answer
        for first, answer, is_sick in zip(untouched, answers, sick, strict=True)
        if is_sick and first.verdict is not Verdict.CLEAR
    ]
    return {"count": sum(answer.verdict is Verdict.CLEAR for answer in at_risk), "of": len(at_risk)}


def _correct(answers: Sequence[Answer], sick: Flags, threshold: float) -> Flags:
    """Return whether each image is on the side of its label; False if it is rejected."""
    scored = np.array([answer.p is not None for answer in answers])
    positive = np.array([answer.p is not None and answer.p >= threshold for answer in answers])
    return np.asarray(scored & (positive == sick))


def _share(flags: Flags) -> float | None:
    return float(flags.mean()) if len(flags) else None
