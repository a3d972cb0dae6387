"""Fits the distance from the training data, and its limit.

The Mahalanobis distance to the nearest class mean, with one covariance for all classes, shrunk towards a multiple of the
identity (Lee et al., NeurIPS 2018; Ledoit and Wolf, 2004). It is fitted to the folder's images, for whose patients the figures
on the card hold: plain, stressed and restyled. The limit comes from patients that neither the network nor the fit has seen,
so each fold's network gets a fit of its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.cohort import FOLDER, TABLE, Cohort
from training.data.conditions import PLAIN, RESTYLED, STRESSED, Condition
from training.data.radiographs import targets
from training.errors import WrongInput
from training.evaluation.metrics import auc
from training.export.card import write_card
from training.export.release import TrainedModel, representative, served
from training.recipe import DistanceSection, Recipe
from worker.card.identity import DISTANCE, NETWORK
from worker.card.loading import CARD
from worker.inference.distance import FINENESS, SECTION, Reference
from worker.inference.lungs import LungFinder
from worker.inference.runtime import LiteRtRuntime

PrintLine = Callable[[str], None]
# The conditions that the distance is fitted to and measured on.
_CONDITIONS = {PLAIN: "", STRESSED: "_stressed", RESTYLED: "_restyled"}
# Features are integers times a power of two that divides their largest value into this many steps. 8 bits, in which the
# network computes them, have 256.
_STEPS = 1024
# Images whose features are in memory at the same time.
_AT_ONCE = 256
_RULE = (
    "The Mahalanobis distance of an image's features, added up over the places, to the nearest class mean of {called}: "
    "plain, stressed and restyled, with one covariance, shrunk by {shrinkage}. The limit is the distance that {beyond} of "
    "the plain images of unseen patients exceed, each measured with a network and a fit that have not seen the patient. `beyond` has "
    "the share of each set that lies beyond the limit, and `auc` how well the distance tells the sets of the table "
    "from the plain images: 0.5 is not at all."
)


@dataclass(frozen=True)
class DistancePart:
    """The distance of a bundle: the reference for its file, and its section of the card."""

    reference: Reference
    section: dict[str, Any]


def fit_distance(
    recipe: Recipe, cohort: Cohort, trained: TrainedModel, bundle: Path, print_line: PrintLine
) -> DistancePart:
    """Fit the distance of a network that was written into a bundle.

    Args:
        recipe: with a section distance.
        cohort: the images.
        trained: of `train_model`.
        bundle: the folder with its network.
        print_line: called with each line of progress.
    """
    plan = _plan(recipe)
    distances = {name: np.zeros(len(trained.by_condition[name].of)) for name in _CONDITIONS}
    for number in range(int(cohort.fold.max()) + 1):
        print_line(f"distance: fold {number + 1}")
        chosen = cohort.fold != number
        of_fold = cohort.finders[number] if cohort.finders else None
        network = _quantised(recipe, trained.fold_model(number), cohort.at(chosen), of_fold)
        reference = _fitted(plan, network, cohort, trained.by_condition, chosen)
        for name in _CONDITIONS:
            condition = trained.by_condition[name]
            held = ~chosen[condition.of]
            distances[name][held] = _distances(network, reference, condition.inputs[held])
    print_line("distance: all images")
    final = LiteRtRuntime(bundle / NETWORK)
    reference = _fitted(plan, final, cohort, trained.by_condition, np.ones(len(cohort), dtype=bool))
    return DistancePart(reference, _section(recipe, cohort, trained.by_condition, distances))


def add_to_bundle(folder: Path, part: DistancePart) -> None:
    """Write distance.npz into a bundle and its section into the card."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    part.reference.save(folder / DISTANCE)
    names = dict.fromkeys((*card.pop("files"), DISTANCE))
    write_card(folder, {**card, SECTION: part.section}, list(names))


def fit_reference(
    sums: NDArray[np.float64], classes: NDArray[np.int64], step: float, shrinkage: float
) -> Reference:
    """Return what distances are measured from.

    Args:
        sums: features of each image, added up over the places, in units of `step`: shape (n, c).
        classes: of each image, shape (n,).
        step: see `Reference`.
        shrinkage: of the covariance, in (0, 1].

    Raises:
        WrongInput: all images have the same features.
    """
    groups = [sums[classes == label] for label in np.unique(classes)]
    means = np.rint([group.mean(axis=0) for group in groups]).astype(np.int64)
    centred = np.concatenate([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = centred.T @ centred / len(centred)
    identity = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * identity
    if not np.trace(shrunk) > 0:
        raise WrongInput("The features of all images are the same, so no distance can be measured.")
    # The inverse of the Cholesky factor L makes features with the covariance L L' uncorrelated.
    whitening = np.linalg.inv(np.linalg.cholesky(shrunk))
    return Reference(step, means, np.rint(whitening * 2.0**FINENESS).astype(np.int64))


def _plan(recipe: Recipe) -> DistanceSection:
    if recipe.distance is None:
        raise ValueError("the recipe has no section distance")
    return recipe.distance


def _quantised(
    recipe: Recipe, model: keras.Model, cohort: Cohort, finder: LungFinder | None
) -> LiteRtRuntime:
    """Return a network as the worker runs it: features of 8 bits lie elsewhere than those of the reference."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NETWORK
        path.write_bytes(served(recipe, model, representative(recipe, cohort, finder)))
        return LiteRtRuntime(path)


def _fitted(
    plan: DistanceSection,
    network: LiteRtRuntime,
    cohort: Cohort,
    by_condition: Mapping[str, Condition],
    chosen: NDArray[np.bool_],
) -> Reference:
    """Fit to the chosen images of the folder."""
    kept = chosen & (cohort.source == FOLDER)
    sums, classes = [], []
    for name in _CONDITIONS:
        condition = by_condition[name]
        mask = kept[condition.of]
        sums.append(_sums(network, condition.inputs[mask]))
        classes.append(targets([cohort.radiographs[i] for i in condition.of[mask]]).argmax(axis=1))
    step = _step(network, by_condition[PLAIN].inputs[kept[by_condition[PLAIN].of]][:_AT_ONCE])
    return fit_reference(np.concatenate(sums) / step, np.concatenate(classes), step, plan.shrinkage)


def _step(network: LiteRtRuntime, inputs: NDArray[np.uint8]) -> float:
    _, features = network.run_with_features(inputs)
    return float(2.0 ** np.floor(np.log2(np.abs(features).max() / _STEPS)))


def _sums(network: LiteRtRuntime, inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the features of each image, added up over the places: shape (n, c)."""
    parts = [
        network.run_with_features(inputs[first : first + _AT_ONCE])[1].sum(axis=(1, 2), dtype=np.float64)
        for first in range(0, len(inputs), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _distances(
    network: LiteRtRuntime, reference: Reference, inputs: NDArray[np.uint8]
) -> NDArray[np.float64]:
    parts = [
        reference.measure(network.run_with_features(inputs[first : first + _AT_ONCE])[1])
        for first in range(0, len(inputs), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _section(
    recipe: Recipe,
    cohort: Cohort,
    by_condition: Mapping[str, Condition],
    distances: Mapping[str, NDArray[np.float64]],
) -> dict[str, Any]:
    """Return the section of the card: the limit, and the shares of the sets beyond it."""
    plan, names = _plan(recipe), {FOLDER: recipe.data.folder.called, TABLE: recipe.data.table.called}
    sets = {
        f"{names[source]}{suffix}": distances[name][cohort.source[by_condition[name].of] == source]
        for source in np.unique(cohort.source).tolist()
        for name, suffix in _CONDITIONS.items()
    }
    plain = sets[names[FOLDER]]
    limit = float(np.quantile(plain, 1 - plan.beyond))
    others = {name: values for name, values in sets.items() if name.startswith(names[TABLE])}
    return {
        "limit": limit,
        "rule": _RULE.format(called=names[FOLDER], shrinkage=plan.shrinkage, beyond=plan.beyond),
        "beyond": {name: round(float((values > limit).mean()), 4) for name, values in sets.items()},
        "auc": {name: _auc(plain, values) for name, values in others.items()},
    }


def _auc(near: NDArray[np.float64], far: NDArray[np.float64]) -> float | None:
    is_far = np.repeat([False, True], [len(near), len(far)])
    found = auc(is_far, np.concatenate([near, far]))
    return None if found is None else round(found, 4)
