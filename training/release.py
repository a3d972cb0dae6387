"""From a recipe and a folder of images to a bundle that can be served."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training import calibrate, card
from training.architectures import multiply_adds
from training.augment import augmented_batch
from training.data import Loaded, Radiograph, held_out_mask, list_folders, list_table, load, targets
from training.evaluate import BOOTSTRAP, SEED, as_scored, evaluate
from training.export import REPRESENTATIVE, parity, to_int8
from training.fit import Examples, Fitted, fit
from training.metrics import Scored, measure, with_intervals
from training.recipe import Recipe
from worker.inference.bundle import RUNTIME_FILES, Bundle, load_bundle
from worker.inference.classifier import scores_of
from worker.inference.preprocess import to_model_input
from worker.inference.runtime import LiteRtRuntime
from worker.inference.triage import OperatingPoint

Say = Callable[[str], None]
Inputs = NDArray[np.uint8]
_SERVED, _REFERENCE = RUNTIME_FILES["litert"], RUNTIME_FILES["tensorflow"]


@dataclass(frozen=True)
class Parts:
    """The two sides of the split.

    Attributes:
        trained_on: images of the other patients, of `augment.side` pixels.
        held_out: the model inputs of held-out patients, as the server makes them.
        held_out_large: the same images, of `stress.side` pixels, to be stressed.
    """

    trained_on: Loaded
    held_out: Loaded
    held_out_large: Loaded


def read_parts(recipe: Recipe, data: Path, limit: int | None, say: Say) -> Parts:
    """Read and split a data set.

    Args:
        recipe: says how.
        data: the folder that holds train/NORMAL and train/PNEUMONIA.
        limit: at most so many images, evenly spread over the list; None: all.
        say: takes a line of progress for a person.

    Raises:
        WrongInput: the folder is not such a data set.
    """
    radiographs = _thinned(list_folders(data / "train"), limit)
    mask = held_out_mask(radiographs, recipe.split.folds, recipe.split.held_out, recipe.fit.seed)
    inner = [each for each, held in zip(radiographs, mask, strict=True) if not held]
    outer = [each for each, held in zip(radiographs, mask, strict=True) if held]
    say(f"reading {len(inner)} images to train on and {len(outer)} of held-out patients")
    return Parts(
        load(inner, recipe.augment.side, to_model_input),
        load(outer, recipe.model.side, to_model_input),
        load(outer, recipe.stress.side, to_model_input),
    )


def train(recipe: Recipe, parts: Parts, say: Say) -> Fitted:
    """Fit the recipe's network to the images that are not held out."""
    examples = Examples(parts.trained_on.pixels, targets(parts.trained_on.radiographs))
    validation = (parts.held_out.pixels, targets(parts.held_out.radiographs))
    return fit(recipe, examples, validation, say)


def release(
    recipe: Recipe,
    parts: Parts,
    model: keras.Model,
    out: Path,
    *,
    training: dict[str, Any],
    preliminary: bool,
    adults: Path | None,
    say: Say,
) -> dict[str, Any]:
    """Export, calibrate, measure, and write a bundle.

    Args:
        recipe: what the model was made by.
        parts: the images; operating points come from the held-out ones.
        model: the reference network.
        out: the bundle's folder; made if it is not there.
        training: what the card says of how it was trained.
        preliminary: whether the card warns that the model is not the recipe's whole work.
        adults: a table to measure the finished bundle on once, or None.
        say: takes a line of progress for a person.

    Returns:
        The card, less the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / _REFERENCE)
    say("quantising")
    (out / _SERVED).write_bytes(to_int8(model, _representative(recipe, parts)))
    runtime = LiteRtRuntime(out / _SERVED)
    stressed, stressed_of = _stressed(recipe, parts.held_out_large)
    evidence = runtime.run(stressed)
    temperature = calibrate.temperature(evidence.astype(np.float64).mean(axis=(1, 2)), targets(stressed_of))
    hard = as_scored(stressed_of, scores_of(evidence, temperature))
    points = calibrate.operating_points(hard.pneumonia, hard.p, recipe.calibrate)
    plain_evidence = runtime.run(parts.held_out.pixels)
    plain = as_scored(parts.held_out.radiographs, scores_of(plain_evidence, temperature))
    say("measuring")
    point = points[recipe.calibrate.default]
    described = card.describe(
        recipe,
        points=points,
        temperature=temperature,
        metrics={
            "held_out": _measured(plain, point),
            "held_out_stressed": _measured(hard, point),
            "parity_with_reference": asdict(parity(model, plain_evidence, parts.held_out.pixels)),
        },
        training={
            **training,
            "images": len(parts.trained_on.radiographs),
            "patients": len({each.patient for each in parts.trained_on.radiographs}),
            "turned_away": len(parts.trained_on.turned_away),
            "parameters": int(model.count_params()),
            "multiply_adds": multiply_adds(model),
        },
        preliminary=preliminary,
    )
    card.write_card(out, described, (_SERVED, _REFERENCE))
    if adults is not None:
        described["metrics"]["adults"] = evaluate(load_bundle(out), list_table(adults))
        card.write_card(out, described, (_SERVED, _REFERENCE))
    sets = {"held-out patients": plain, "the same, stressed": hard}
    card.plot_roc(out / "roc.png", sets, points)
    card.plot_reliability(out / "reliability.png", sets)
    return described


def reference(bundle: Bundle) -> keras.Model:
    """Load a bundle's reference network."""
    return keras.saving.load_model(bundle.file("tensorflow"), compile=False)


def trained_by(recipe: Recipe, fitted: Fitted) -> dict[str, Any]:
    """What the card says of a training."""
    return {
        "seed": recipe.fit.seed,
        "minutes": round(fitted.seconds / 60, 1),
        "finished": time.strftime("%Y-%m-%d", time.gmtime()),
        "history": fitted.history,
    }


def _thinned(radiographs: Sequence[Radiograph], limit: int | None) -> list[Radiograph]:
    if limit is None or limit >= len(radiographs):
        return list(radiographs)
    return [radiographs[i] for i in np.linspace(0, len(radiographs) - 1, limit).round().astype(int)]


def _representative(recipe: Recipe, parts: Parts) -> Inputs:
    """Augmented training inputs: the ranges of what a server may be sent, not only of clean images."""
    rng = np.random.default_rng(recipe.fit.seed)
    count = min(REPRESENTATIVE, len(parts.trained_on.pixels))
    chosen = rng.choice(len(parts.trained_on.pixels), count, replace=False)
    seed = (recipe.fit.seed, REPRESENTATIVE)
    return augmented_batch(parts.trained_on.pixels, chosen, recipe.model.side, recipe.stress, seed)


def _stressed(recipe: Recipe, grey: Loaded) -> tuple[Inputs, list[Radiograph]]:
    everyone = np.arange(len(grey.pixels))
    variants = [
        augmented_batch(
            grey.pixels, everyone, recipe.model.side, recipe.stress, (recipe.stress.seed, variant)
        )
        for variant in range(recipe.stress.variants)
    ]
    return np.concatenate(variants), grey.radiographs * recipe.stress.variants


def _measured(scored: Scored, point: OperatingPoint) -> dict[str, Any]:
    figures = with_intervals(scored, lambda sample: measure(sample, point.threshold), BOOTSTRAP, SEED)
    share = float(scored.pneumonia.mean())
    return {"n": len(scored), "patients": len(np.unique(scored.patient)), "prevalence": share, **figures}
