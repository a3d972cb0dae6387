"""The model card: card.json for programs, README.md for people."""

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
from worker.inference.activation import FILM_MAP
from worker.inference.bundle import LABELS
from worker.inference.triage import OperatingPoint

# Plots in the bundle: two of this module, one of `training.fit.history`.
PLOTS = ("roc.png", "reliability.png", PLOT)
# Distance between two places of the network's output, in pixels.
STRIDE = 16
# Sizes of the enlarged corner of a ROC; the first that holds every operating point is used.
_CORNERS = (0.05, 0.1, 0.2, 0.3)
# A list of numbers in indented JSON. A string cannot match: it has no bare line break.
_NUMBERS = re.compile(r"\[\n([-+.,\seE\dnul]+?)\n *\]")

OUTPUT = (
    "Logits of each label at each place, (1, h, w, 3). The softmax of their mean over the places, divided by "
    "calibration.temperature, gives the probabilities. The log-odds of pneumonia at each place form the "
    "activation map. An image whose p_pneumonia lies in the range of `second_look` is scored again, mirrored and "
    "enlarged, and the evidence of the three views is averaged."
)
OUTPUT_OF_TWO = (
    " model.tflite sees the part of the film around the lungs, film.tflite the whole film. The mean of the logits of both "
    "gives the probabilities, and the map covers the whole film."
)
INTENDED_USE = (
    "Research and education: to sort chest radiographs for a person who reads them. A score is never a diagnosis, "
    "and no image may stay unread because of it."
)
NOT_FOR = (
    "A diagnosis, a report, or any decision about a patient.",
    "Deciding without a person that an image needs no reader.",
    "Lateral views, other parts of the body, CT slices and photographs.",
    "Findings other than pneumonia: the model was not trained on them and may score them high or low.",
)
LIMITS = (
    "The model was trained on patients like those in its training data and on no others.",
    "Figures may differ at other ages, in other hospitals and on other machines: measure before you rely on them.",
    "The labels bacterial and viral come from file names, not from cultures: do not act on the difference.",
    "The activation map shows what influenced the score. It has {places} x {places} places and does not outline lesions.",
    "Sensitivity, specificity and shares are valid for the mix of patients they were measured on.",
)
POPULATIONS = "The performance depends on the patients: the AUC is {}."
HELD = (
    "Chosen on scores of patients that the scoring network was not trained on, with equal weight for plain images, "
    "{variants} stressed variants of each, and restyled images (with the sharpness and haze of an image of the other "
    "class)"
)
CALIBRATION_RULE = (
    f"{HELD}: the smallest negative log-likelihood, weighted for a prevalence of pneumonia of {{prevalence}}. "
    "The network contains the biases of the classes but not the temperature."
)
HELD_WORST = (
    f"{HELD}; and, with as much weight each, the held-out images of each split (see the section splits), scored by a "
    "network that was trained on the other side, plain, stressed and restyled, too"
)
CALIBRATION_RULE_WORST = (
    f"{HELD_WORST}: the temperature and the biases with which the largest of the negative log-likelihoods of these "
    "conditions is smallest, each weighted for a prevalence of pneumonia of {prevalence}. The network contains the biases "
    "of the classes but not the temperature."
)
RULE = (
    f"{HELD}. The threshold of balanced is the prevalence that the scores are calibrated for, {{prevalence}}: at this "
    "score an image is as much evidence for pneumonia as against it. The threshold of screen is the highest with "
    "sensitivity {screen_sensitivity}, but not above balanced; that of rule-in is the lowest with specificity "
    "{rule_in_specificity}, but not below balanced. Each point flags from its own threshold. Its band begins at the "
    "threshold of the next more sensitive point; that of screen begins at the highest threshold with sensitivity "
    "{screen_clear_sensitivity}. The flagged share is the one expected at that prevalence."
)
RULE_WORST = (
    f"{HELD_WORST}: the worst of these conditions decides. The threshold of balanced is the prevalence that the scores are "
    "calibrated for, {prevalence}: at this score an image is as much evidence for pneumonia as against it. The threshold of "
    "screen is the highest that has sensitivity {screen_sensitivity} in each condition, but not above balanced; that of "
    "rule-in is the lowest that has specificity {rule_in_specificity} in each condition, but not below balanced. Each "
    "point flags from its own threshold. Its band begins at the threshold of the next more sensitive point; that of screen "
    "begins at the highest threshold that has sensitivity {screen_clear_sensitivity} in each condition. The figures of a "
    "point are those of the patients out of fold, not of the splits, where they are lower. The flagged share is the one "
    "expected at that prevalence."
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
    """Return the content of card.json without `files`.

    Args:
        recipe: of the model.
        points: operating points by name.
        temperature: divisor of the logits.
        metrics: by the name of the set of images: n, patients, prevalence, each metric with its `_ci`, and
            subgroups; also measurements that are not of a set, for instance `parity_with_reference`.
        training: seeds, duration and size of the training.
        preliminary: whether the model comes from a trial run.
        data: by role, for instance `trained_on`: data sets with name, source, licence and note.
        sections: further sections: `curves` (see `curve_points`), `spread`, `splits`, `gate`.
    """
    chosen = {"variants": recipe.stress.variants, **recipe.calibrate.model_dump()}
    calibration_rule, rule = (
        (CALIBRATION_RULE, RULE) if recipe.splits is None else (CALIBRATION_RULE_WORST, RULE_WORST)
    )
    return {
        "card_version": 1,
        "name": recipe.model.name,
        "version": recipe.model.version,
        "preliminary": preliminary,
        "intended_use": INTENDED_USE,
        "not_for": list(NOT_FOR),
        "limits": limits(places(recipe), metrics),
        **_population(recipe),
        "labels": list(LABELS),
        "input": {
            "side": recipe.network.side,
            "channels": 1,
            "dtype": "uint8",
            "preprocessing_version": recipe.preprocessing,
        },
        "output": OUTPUT + ("" if recipe.film is None else OUTPUT_OF_TWO),
        "calibration": {
            "temperature": temperature,
            "rule": calibration_rule.format(**chosen),
        },
        "operating_points": {name: _without_name(point) for name, point in points.items()},
        "default_operating_point": recipe.calibrate.default,
        "operating_point_rule": rule.format(**chosen),
        "metrics": metrics,
        "data": dict(data),
        "recipe": recipe.model_dump(mode="json"),
        "training": {**training, "software": software()},
        "plots": list(PLOTS),
        **(sections or {}),
    }


def _population(recipe: Recipe) -> dict[str, Any]:
    if recipe.population is None:
        return {}
    youngest, oldest = recipe.population.age_years
    return {"population": {"age_years": {"min": youngest, "max": oldest}}}


def places(recipe: Recipe) -> int:
    """Return the rows, and columns, of a model's activation map."""
    return recipe.network.side // STRIDE if recipe.lungs is None else FILM_MAP


def limits(places: int, metrics: Mapping[str, Any]) -> list[str]:
    """Return the limits that the card states; `places` is the number of rows of the activation map."""
    sets = [scored for scored in figure_sets(read_card({"metrics": metrics})) if "auc" in scored.figures]
    populations = [
        f"{scored.figures['auc']} on {label(scored.name)}" for scored in sets if not explained([scored.name])
    ]
    return [
        *([POPULATIONS.format(", ".join(populations))] if len(populations) > 1 else []),
        *(sentence.format(places=places) for sentence in LIMITS),
    ]


def write_card(folder: Path, card: dict[str, Any], files: Sequence[str]) -> None:
    """Write card.json, with hash and size of the given files of the same folder, and README.md."""
    whole = {**card, "files": {name: _fingerprint(folder / name) for name in files}}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / CARD).write_text(_NUMBERS.sub(_in_a_line, text) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(render(whole), encoding="utf-8")


def curve_points(sets: Mapping[str, LabelledScores], most: int = 300) -> dict[str, Any]:
    """Return the section `curves`, from which programs draw ROC curves and reliability diagrams.

    Args:
        sets: scores by the name of the set, as in `metrics`.
        most: maximum number of points of a ROC curve. They are spread evenly along it, so each omitted
            point lies within 2 / most of a kept one.

    Returns:
        By set: `roc` with `threshold`, `sensitivity` and `specificity`, thresholds falling, and
        `reliability` with `score` (mean), `share` (of pneumonia) and `n` of bins of equal mass.
        All are rounded to four decimals. A set with one class has no curve and is left out.
    """
    return {
        name: {"roc": _roc(scored, most), "reliability": reliability(scored)}
        for name, scored in sets.items()
        if scored.pneumonia.any() and not scored.pneumonia.all()
    }


def reliability(scored: LabelledScores) -> dict[str, list[float]]:
    """Return mean score, share of pneumonia and number of images of 15 bins of equal mass, scores rising."""
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
    """Return the versions of the software that the training ran on."""
    names = ("keras", keras.config.backend(), "numpy", "pillow", "ai-edge-litert")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@style()
def plot_roc(path: Path, curves: Mapping[str, Any], points: Mapping[str, OperatingPoint]) -> None:
    """Plot the ROC curves of the section `curves`, and the expected places of the operating points.

    If one corner holds all of these, a second panel shows it enlarged.
    """
    places = [
        (1 - point.specificity, point.sensitivity, point)
        for point in points.values()
        if point.specificity is not None and point.sensitivity is not None
    ]
    farthest = max((max(x, 1 - y) for x, y, _ in places), default=1.0)
    size = next((corner for corner in _CORNERS if farthest <= corner), None)
    figure, panels = _panels(2 if size else 1, "1 - specificity", "sensitivity")
    for axes in panels:
        for name, set_curves in curves.items():
            roc = set_curves["roc"]
            axes.plot(1 - np.asarray(roc["specificity"]), roc["sensitivity"], label=label(name))
    for (x, y), named in _by_place(places).items():
        panels[-1].plot(x, y, "o", color="black", markersize=5, zorder=4)
        behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        panels[-1].annotate(
            ", ".join(named), (x, y), (8, -13), textcoords="offset points", zorder=5, bbox=behind
        )
    if size:
        panels[-1].set(title="The corner", xlim=(-size / 80, size), ylim=(1 - size, 1 + size / 80))
    panels[0].legend(loc="lower right")
    _save(figure, path)


@style()
def plot_reliability(path: Path, curves: Mapping[str, Any]) -> None:
    """Plot the reliability of the section `curves`: the share with pneumonia against the score, in bins."""
    figure, (axes,) = _panels(1, "p_pneumonia", "share with pneumonia")
    axes.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle="-")
    for name, set_curves in curves.items():
        bins = set_curves["reliability"]
        axes.plot(bins["score"], bins["share"], marker="o", markersize=3, label=label(name))
    # Below the axes: the curves of a set of other patients may lie anywhere.
    figure.set_size_inches(4.8, 5.6)
    figure.legend(loc="outside lower center", ncols=2)
    _save(figure, path)


def _by_place(places: Sequence[tuple[float, float, OperatingPoint]]) -> dict[tuple[float, float], list[str]]:
    """Return the names of the points at each place; two points may share a place."""
    names_at: dict[tuple[float, float], list[str]] = {}
    for x, y, point in places:
        names_at.setdefault((round(x, 3), round(y, 3)), []).append(point.name)
    return names_at


def _panels(count: int, x: str, y: str) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * count, 4.8), dpi=110)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, list(panels)


def _save(figure: Any, path: Path) -> None:
    # Without date and version in the file, the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def _without_name(point: OperatingPoint) -> dict[str, float | None]:
    return {key: value for key, value in asdict(point).items() if key != "name"}


def _fingerprint(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
