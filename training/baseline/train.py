"""Training and measurement of the replaced application's network, as it was.

The result is for comparison. It is not a model bundle: no worker can serve it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.baseline.fit import fit
from training.baseline.images import scaled
from training.baseline.parts import Images, Parts, read_parts, stressed_variants
from training.baseline.recipe import BaselineRecipe, load_baseline_recipe
from training.evaluation.evaluate import BOOTSTRAP, SEED
from training.evaluation.metrics import LabelledScores, confusion, with_intervals
from training.export import card
from training.fit.callbacks import PrintLine, Progress, discard_state
from training.fit.history import HISTORY, PLOT, plot_history, write_history
from training.recipe import Recipe, load_recipe

MODEL, METRICS = "model.keras", "metrics.json"
NO_BUNDLE = "This is the network of the replaced application, for comparison. It is not a model bundle: no worker can serve it."
CHOSEN = (
    "The epoch was chosen by the loss on the held-out patients, so their figures are slightly optimistic."
)
_UNKNOWN_SUBTYPE = -1
_AT_ONCE = 64


def train_baseline(
    name: str,
    data: Path,
    out: Path,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    limit: int | None = None,
    table: Path | None = None,
    cpu_limit: float | None = None,
    print_line: PrintLine,
) -> dict[str, Any]:
    """Train by a recipe of this kind, measure, and write model.keras, metrics.json, history and plots.

    Args:
        name: of the recipe.
        data: the folder that holds train/, and val/ and test/ if they exist.
        out: output folder, created if it does not exist. An interrupted training continues from OUT-work.
        epochs: instead of the recipe's.
        seed: instead of the recipe's.
        limit: maximum number of images of train/, evenly spread over the list.
        table: a CSV of more images (see `list_table`), which are measured but not trained on.
        cpu_limit: per cent of all cores; None: no limit.
        print_line: called with each line of progress.

    Returns:
        The content of metrics.json.

    Raises:
        WrongInput: the recipe, the data or the state of an earlier training is not valid.
    """
    recipe = load_baseline_recipe(name, epochs, seed)
    like = load_recipe(recipe.split.like)
    parts = read_parts(like, data, limit, table, print_line)
    work = out.with_name(f"{out.name}-work")
    model, progress = fit(recipe, parts, work, cpu_limit, print_line)
    print_line("measuring")
    sets = _scored_sets(model, parts, like)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / MODEL)
    document = _document(recipe, like, parts, model, progress, sets)
    _write(out, document, progress, sets)
    discard_state(work)
    print_line(NO_BUNDLE)
    return document


def _scored_sets(model: keras.Model, parts: Parts, like: Recipe) -> dict[str, LabelledScores]:
    sets = {
        "held_out": _scored(model, parts.held_out),
        "held_out_stressed": _scored(model, stressed_variants(parts.held_out, like)),
    }
    return sets | {name: _scored(model, images) for name, images in parts.measured.items()}


def _scored(model: keras.Model, images: Images) -> LabelledScores:
    chunks = np.split(images.pixels, range(_AT_ONCE, len(images.pixels), _AT_ONCE))
    p = np.concatenate([model.predict_on_batch(scaled(chunk)) for chunk in chunks])
    values = p[:, 0].astype(np.float64)
    return LabelledScores(
        pneumonia=images.pneumonia.astype(bool),
        p=values,
        # The network does not distinguish kinds of pneumonia.
        subtype=np.full(len(values), _UNKNOWN_SUBTYPE),
        predicted=(values >= 0.5).astype(np.int64),  # noqa: PLR2004 - the larger one of two
        patient=np.unique([radiograph.patient for radiograph in images.radiographs], return_inverse=True)[1],
    )


def _document(
    recipe: BaselineRecipe,
    like: Recipe,
    parts: Parts,
    model: keras.Model,
    progress: Progress,
    sets: dict[str, LabelledScores],
) -> dict[str, Any]:
    losses = [entry["val_loss"] for entry in progress.history]
    return {
        "what": NO_BUNDLE,
        "note": CHOSEN,
        "threshold": recipe.measure.threshold,
        "metrics": {name: _measured(scored, recipe.measure.threshold) for name, scored in sets.items()},
        "split": {
            "training": {"images": len(parts.training.radiographs), "patients": parts.training.patients},
            "held_out": {
                "of": parts.held_out_of,
                "images": len(parts.held_out.radiographs),
                "patients": parts.held_out.patients,
            },
        },
        "training": {
            "seed": recipe.fit.seed,
            "epochs": len(losses),
            "best_epoch": int(np.argmin(losses)) + 1,
            "minutes": round(progress.seconds / 60, 1),
            "parameters": int(model.count_params()),
            "software": card.software(),
        },
        "recipe": recipe.model_dump(mode="json"),
        "stress": like.stress.model_dump(mode="json"),
    }


def _measured(scored: LabelledScores, threshold: float) -> dict[str, Any]:
    return {
        "n": len(scored),
        "patients": len(np.unique(scored.patient)),
        "prevalence": float(scored.pneumonia.mean()),
        **with_intervals(scored, threshold, BOOTSTRAP, SEED),
        "confusion": confusion(scored, threshold),
    }


def _write(out: Path, document: dict[str, Any], progress: Progress, sets: dict[str, LabelledScores]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (out / METRICS).write_text(text + "\n", encoding="utf-8")
    write_history(out / HISTORY, progress.history)
    plot_history(out / PLOT, progress.history)
    curves = card.curve_points(sets)
    card.plot_roc(out / "roc.png", curves, {})
    card.plot_reliability(out / "reliability.png", curves)
