"""The card of a bundle: everything a person or a program must know of a model."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from training.calibrate import curve
from training.metrics import Scored
from training.recipe import Recipe
from worker.inference.bundle import CARD, LABELS
from worker.inference.preprocess import PREPROCESSING_VERSION
from worker.inference.triage import OperatingPoint

INTENDED_USE = (
    "Research and education: to put chest radiographs of children in an order in which a person reads "
    "them. A score is never a diagnosis, and no image may go unread because of it."
)
LIMITS = (
    "Trained on children of 1 to 5 years from one hospital in Guangzhou, frontal views only.",
    "On adults of another hospital it was no better than chance: see metrics.adults. Not for adults.",
    "Pneumonia is the only finding it was shown; other findings may be called pneumonia or nothing.",
    "Bacterial and viral were taken from file names, not from a culture; do not act on the difference.",
    "The activation map shows what moved the score. It is 8 x 8 places and outlines no lesion.",
    "Sensitivity, specificity and shares hold for the mix of patients they were measured on.",
)
DATA = {
    "name": "Chest X-Ray Images (Pneumonia), train split",
    "source": "Kermany, Zhang, Goldbaum et al., Labeled Optical Coherence Tomography (OCT) and Chest X-Ray "
    "Images for Classification, Mendeley Data, 2018; described in Kermany et al., Cell 172, 2018",
    "licence": "CC BY 4.0",
    "note": "The official test split was neither trained on nor looked at.",
}
ADULT_DATA = {
    "name": "A sample of NIH ChestX-ray14",
    "source": "Wang et al., CVPR 2017",
    "note": "Adults; labels mined from reports, and pneumonia cases that carry other findings too. "
    "Its figures were looked at while the preprocessing was chosen, so it is no untouched test.",
}
RULE = (
    "On held-out patients, each image in {variants} stressed variants (exposure, contrast, blur, noise, JPEG, "
    "crop): balanced is the threshold with the largest sum of sensitivity and specificity, screen the highest with "
    "sensitivity {screen_sensitivity} but not above balanced, rule-in the lowest with specificity "
    "{rule_in_specificity} but not below balanced. Uncertain lies from "
    "screen to rule-in for balanced, and from a point's own threshold to balanced for the other two. "
    "Sensitivity, specificity and flagged_share (at or above band_high) are those of the stressed images."
)


def describe(
    recipe: Recipe,
    *,
    points: dict[str, OperatingPoint],
    temperature: float,
    metrics: dict[str, Any],
    training: dict[str, Any],
    preliminary: bool,
) -> dict[str, Any]:
    """Everything that card.json says, except for the files."""
    rule = RULE.format(variants=recipe.stress.variants, **recipe.calibrate.model_dump())
    return {
        "card_version": 1,
        "name": recipe.model.name,
        "version": recipe.model.version,
        "preliminary": preliminary,
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "labels": list(LABELS),
        "input": {
            "side": recipe.model.side,
            "channels": 1,
            "dtype": "uint8",
            "preprocessing_version": PREPROCESSING_VERSION,
        },
        "output": "Logits of each label at each place, (1, h, w, 3); their mean over the places, divided by "
        "calibration.temperature, goes through a softmax. The log-odds of pneumonia at each place are the activation map.",
        "calibration": {
            "temperature": temperature,
            "rule": "Least negative log-likelihood, stressed images.",
        },
        "operating_points": {name: _without_name(point) for name, point in points.items()},
        "default_operating_point": recipe.calibrate.default,
        "operating_point_rule": rule,
        "metrics": metrics,
        "data": {"trained_on": DATA, "also_measured_on": ADULT_DATA},
        "recipe": recipe.model_dump(mode="json"),
        "training": {**training, "software": software()},
    }


def write_card(folder: Path, card: dict[str, Any], files: Sequence[str]) -> None:
    """Write card.json with the sha256 and size of the files that lie beside it."""
    named = {name: _fingerprint(folder / name) for name in files}
    text = json.dumps({**card, "files": named}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def software() -> dict[str, str]:
    """What the training ran on."""
    names = ("keras", "tensorflow", "numpy", "pillow", "ai-edge-litert")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def plot_roc(path: Path, sets: dict[str, Scored], points: dict[str, OperatingPoint]) -> None:
    """Draw the ROC curves of some sets, and where the operating points lie on the last one."""
    figure, axes = _square_plot("1 - specificity", "sensitivity")
    for name, scored in sets.items():
        roc = curve(scored.pneumonia, scored.p)
        axes.plot(1 - roc.specificity, roc.sensitivity, label=name)
    for name, point in points.items():
        if point.specificity is not None:
            axes.plot(1 - point.specificity, point.sensitivity, "o", color="black", markersize=4)
            axes.annotate(
                name, (1 - point.specificity, point.sensitivity), (6, -10), textcoords="offset points"
            )
    _save(figure, axes, path)


def plot_reliability(path: Path, sets: dict[str, Scored], bins: int = 15) -> None:
    """Draw how often pneumonia was there against the score, in bins of equal mass."""
    figure, axes = _square_plot("p_pneumonia", "share with pneumonia")
    axes.plot((0, 1), (0, 1), color="grey", linewidth=0.8)
    for name, scored in sets.items():
        parts = np.array_split(np.argsort(scored.p, kind="stable"), min(bins, len(scored)))
        axes.plot(
            [scored.p[part].mean() for part in parts],
            [scored.pneumonia[part].mean() for part in parts],
            marker="o",
            markersize=3,
            label=name,
        )
    _save(figure, axes, path)


def _square_plot(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.legend(loc="lower right")
    # No date and no version in the file: the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _without_name(point: OperatingPoint) -> dict[str, float | None]:
    return {key: value for key, value in asdict(point).items() if key != "name"}


def _fingerprint(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
