"""The card of a bundle: everything a person or a program must know of a model."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.calibration.calibrate import curve
from training.evaluation.metrics import LabelledScores
from training.evaluation.ranking import equal_mass_bins
from training.export.card_page import PAGE, render
from training.fit.history import PLOT
from training.html.pictures import style
from training.recipe import Recipe
from worker.card.loading import CARD
from worker.card.reading import figure_sets, read_card
from worker.card.text import explained, label
from worker.inference.bundle import LABELS
from worker.inference.preprocess import PREPROCESSING_VERSION
from worker.inference.triage import OperatingPoint

# What the bundle holds besides, drawn by the functions below and by `training.fit.history`.
PLOTS = ("roc.png", "reliability.png", PLOT)
# The network's places are so many pixels apart.
STRIDE = 16
# How much of the corner of a ROC is enlarged: the first that holds every operating point.
_CORNERS = (0.05, 0.1, 0.2, 0.3)
# A list of nothing but numbers, as indented JSON has it; a text holds no bare line break.
_NUMBERS = re.compile(r"\[\n([-+.,\seE\dnul]+?)\n *\]")

OUTPUT = (
    "Logits of each label at each place, (1, h, w, 3). Their mean over the places, divided by "
    "calibration.temperature, goes through a softmax. The log-odds of pneumonia at each place are the "
    "activation map. Images whose p_pneumonia lies in `second_look` are looked at again, mirrored and enlarged, "
    "and the evidence of the three looks is averaged."
)
INTENDED_USE = (
    "Research and education: to put chest radiographs in an order in which a person reads them. A score is "
    "never a diagnosis, and no image may go unread because of it."
)
NOT_FOR = (
    "A diagnosis, a report, or any decision on a patient.",
    "Deciding alone that an image needs no reader.",
    "Lateral views, other parts of the body, CT slices and photographs.",
    "Other findings than pneumonia: it was shown none, and may call them pneumonia or nothing.",
)
LIMITS = (
    "It knows patients like those of its training data and no others.",
    "Other ages, hospitals and machines may give other figures: measure before you trust.",
    "Bacterial and viral are what file names and labels say, not a culture; do not act on the difference.",
    "The activation map shows what moved the score. It is {places} x {places} places and outlines no lesion.",
    "Sensitivity, specificity and shares hold for the mix of patients they were measured on.",
)
WHOSE_IMAGES = "What it is worth depends on whose images they are: its AUC is {}."
HELD = (
    "On scores of patients that the scoring network was not shown, their images as they are, in {variants} "
    "stressed variants each, and restyled (with the sharpness and haze of one of the other class), each kind "
    "counting alike"
)
CALIBRATION_RULE = (
    f"{HELD}: the least negative log-likelihood, weighted so that pneumonia has a prevalence of {{prevalence}}. "
    "The biases of the classes are in the network; the temperature is not."
)
RULE = (
    f"{HELD}: balanced is the prevalence that the scores are calibrated for, {{prevalence}}, where an image "
    "speaks for pneumonia as much as against it; screen is the highest threshold with sensitivity "
    "{screen_sensitivity} but not above balanced, rule-in the lowest with specificity {rule_in_specificity} but "
    "not below balanced. Uncertain lies from screen to rule-in for balanced, and from a point's own threshold to "
    "balanced for the other two. The flagged share (at or above the band) is the one expected at that prevalence."
)


def describe(
    recipe: Recipe,
    *,
    points: dict[str, OperatingPoint],
    temperature: float,
    metrics: dict[str, Any],
    training: dict[str, Any],
    preliminary: bool,
    data: Mapping[str, Any],
    sections: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that card.json says, except for the files.

    Args:
        recipe: what the model was made by.
        points: by name.
        temperature: what the logits are divided by.
        metrics: by the name of the set of images: n, patients, prevalence, each metric with its `_ci`,
            subgroups; besides them what is no set of images, for instance `parity_with_reference`.
        training: how it went: seeds, minutes, history.
        preliminary: whether the model is not the recipe's whole work.
        data: by role, for instance `trained_on`, data sets with name, source, licence and note.
        sections: further ones as they stand: `curves` (see `curve_points`), `spread`, `gate`.
    """
    chosen = {"variants": recipe.stress.variants, **recipe.calibrate.model_dump()}
    return {
        "card_version": 1,
        "name": recipe.model.name,
        "version": recipe.model.version,
        "preliminary": preliminary,
        "intended_use": INTENDED_USE,
        "not_for": list(NOT_FOR),
        "limits": limits(recipe.network.side, metrics),
        "labels": list(LABELS),
        "input": {
            "side": recipe.network.side,
            "channels": 1,
            "dtype": "uint8",
            "preprocessing_version": PREPROCESSING_VERSION,
        },
        "output": OUTPUT,
        "calibration": {
            "temperature": temperature,
            "rule": CALIBRATION_RULE.format(**chosen),
        },
        "operating_points": {name: _without_name(point) for name, point in points.items()},
        "default_operating_point": recipe.calibrate.default,
        "operating_point_rule": RULE.format(**chosen),
        "metrics": metrics,
        "data": dict(data),
        "recipe": recipe.model_dump(mode="json"),
        "training": {**training, "software": software()},
        "plots": list(PLOTS),
        **(sections or {}),
    }


def limits(side: int, metrics: Mapping[str, Any]) -> list[str]:
    """What the card warns of; `side` is that of the input in pixels."""
    sets = [each for each in figure_sets(read_card({"metrics": metrics})) if "auc" in each.figures]
    known = [f"{each.figures['auc']} on {label(each.name)}" for each in sets if not explained([each.name])]
    return [
        *([WHOSE_IMAGES.format(", ".join(known))] if len(known) > 1 else []),
        *(each.format(places=side // STRIDE) for each in LIMITS),
    ]


def write_card(folder: Path, card: dict[str, Any], files: Sequence[str]) -> None:
    """Write card.json, with the sha256 and size of the files that lie beside it, and README.md."""
    whole = {**card, "files": {name: _fingerprint(folder / name) for name in files}}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CARD).write_text(_NUMBERS.sub(_in_a_line, text) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(render(whole), encoding="utf-8")


def curve_points(sets: Mapping[str, LabelledScores], most: int = 300) -> dict[str, Any]:
    """The section `curves`: what a program needs to draw ROC curves and reliability diagrams.

    Args:
        sets: images by the name of the set, as in `metrics`.
        most: points of each ROC curve at most. They are spread evenly along it, so what is left
            out lies within 2 / most of what stays.

    Returns:
        By set: `roc` with `threshold`, `sensitivity` and `specificity`, thresholds falling, and
        `reliability` with `score` (mean), `share` (of pneumonia) and `n` of bins of equal mass.
        All rounded to four decimals. A set with one class has no curve and is left out.
    """
    return {
        name: {"roc": _roc(scored, most), "reliability": reliability(scored)}
        for name, scored in sets.items()
        if scored.pneumonia.any() and not scored.pneumonia.all()
    }


def reliability(scored: LabelledScores) -> dict[str, list[float]]:
    """Mean score, share of pneumonia and number of images in 15 bins of equal mass, scores rising."""
    bins = equal_mass_bins(scored.ranking)
    named = {"score": bins.p.round(4), "share": bins.share.round(4), "n": bins.count}
    return {name: values.tolist() for name, values in named.items()}


def _roc(scored: LabelledScores, most: int) -> dict[str, list[float]]:
    roc = curve(scored.pneumonia, scored.p)
    way = roc.sensitivity - roc.specificity
    chosen = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], most)))
    named = {"threshold": roc.thresholds, "sensitivity": roc.sensitivity, "specificity": roc.specificity}
    return {name: values[chosen].round(4).tolist() for name, values in named.items()}


def _in_a_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(numbers[1].replace(',', ' ').split())}]"


def software() -> dict[str, str]:
    """What the training ran on."""
    names = ("keras", keras.config.backend(), "numpy", "pillow", "ai-edge-litert")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@style()
def plot_roc(path: Path, sets: dict[str, LabelledScores], points: dict[str, OperatingPoint]) -> None:
    """Draw the ROC curves of some sets, and where the operating points are expected to lie.

    If a corner holds all of these, it is drawn beside the whole, enlarged.
    """
    places = [
        (1 - each.specificity, each.sensitivity, each)
        for each in points.values()
        if each.specificity is not None and each.sensitivity is not None
    ]
    farthest = max((max(x, 1 - y) for x, y, _ in places), default=1.0)
    size = next((each for each in _CORNERS if farthest <= each), None)
    figure, panels = _panels(2 if size else 1, "1 - specificity", "sensitivity")
    for axes in panels:
        for name, scored in sets.items():
            roc = curve(scored.pneumonia, scored.p)
            axes.plot(1 - roc.specificity, roc.sensitivity, label=label(name))
    for (x, y), named in _by_place(places).items():
        panels[-1].plot(x, y, "o", color="black", markersize=5, zorder=4)
        behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        panels[-1].annotate(
            ", ".join(named), (x, y), (8, -13), textcoords="offset points", zorder=5, bbox=behind
        )
    if size:
        panels[-1].set(title="The corner", xlim=(-size / 80, size), ylim=(1 - size, 1 + size / 80))
    _save(figure, panels[0], path)


@style()
def plot_reliability(path: Path, sets: dict[str, LabelledScores]) -> None:
    """Draw how often pneumonia was there against the score, in bins of equal mass."""
    figure, (axes,) = _panels(1, "p_pneumonia", "share with pneumonia")
    axes.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="-")
    for name, scored in sets.items():
        found = reliability(scored)
        axes.plot(found["score"], found["share"], marker="o", markersize=3, label=label(name))
    _save(figure, axes, path)


def _by_place(places: Sequence[tuple[float, float, OperatingPoint]]) -> dict[tuple[float, float], list[str]]:
    """The names of the points at each place: two may be one and the same."""
    found: dict[tuple[float, float], list[str]] = {}
    for x, y, point in places:
        found.setdefault((round(x, 3), round(y, 3)), []).append(point.name)
    return found


def _panels(count: int, x: str, y: str) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * count, 4.8), dpi=110)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, list(panels)


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.legend(loc="lower right")
    # No date and no version in the file: the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _without_name(point: OperatingPoint) -> dict[str, float | None]:
    return {key: value for key, value in asdict(point).items() if key != "name"}


def _fingerprint(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
