"""The conditions that scores are measured under: plain, stressed, and in the style of the other class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.augment import WHOLE, acquired, augmented_batch, degraded
from training.data.cohort import Cohort
from training.data.spectrum import radial_spectra, restyled
from training.recipe import Recipe
from worker.inference.exposure import normalise
from worker.inference.lungs import cut, whole_film
from worker.inference.second_look import views

PLAIN, STRESSED, RESTYLED = "plain", "stressed", "restyled"


@dataclass(frozen=True)
class Condition:
    """Model inputs made from the images of a cohort.

    Attributes:
        inputs: uint8, shape (m, side, side).
        of: index of the cohort's image that each input was made from, shape (m,).
    """

    inputs: NDArray[np.uint8]
    of: NDArray[np.int64]


def conditions(recipe: Recipe, cohort: Cohort) -> dict[str, Condition]:
    """Return the inputs of every condition, by name.

    `plain`: the inputs of the server. `stressed`: variants of each image by the recipe's [stress]; the lungs are found
    in each variant.
    `restyled`: each image with the radial spectrum of an image of the other class. A model that reads the
    class from sharpness or haze instead of from anatomy is wrong on most restyled images.
    """
    everyone = np.arange(len(cohort))
    stressed = [_stressed(recipe, cohort, variant) for variant in range(recipe.stress.variants)]
    return {
        PLAIN: Condition(cohort.inputs, everyone),
        STRESSED: Condition(np.concatenate(stressed), np.tile(everyone, recipe.stress.variants)),
        RESTYLED: Condition(_restyled(cohort, recipe.stress.seed), everyone),
    }


def restricted(by_name: Mapping[str, Condition], chosen: NDArray[np.bool_]) -> dict[str, Condition]:
    """Return the conditions of some images alone; `of` counts these images, as `Cohort.at` does."""
    place = np.cumsum(chosen) - 1
    kept = {name: chosen[condition.of] for name, condition in by_name.items()}
    return {
        name: Condition(condition.inputs[kept[name]], place[condition.of[kept[name]]])
        for name, condition in by_name.items()
    }


def with_views(by_name: Mapping[str, Condition]) -> dict[str, Condition]:
    """Return the conditions, plus each in the other views of the second look, named by `view_of`."""
    other_views = {
        view_of(name, view): Condition(inputs, condition.of)
        for name, condition in by_name.items()
        for view, inputs in views(condition.inputs).items()
    }
    return {**by_name, **other_views}


def view_of(condition: str, view: str) -> str:
    """Return the name of a condition in another view."""
    return f"{condition}, {view}"


def _stressed(recipe: Recipe, cohort: Cohort, variant: int) -> NDArray[np.uint8]:
    side, seed = recipe.network.side, (recipe.stress.seed, variant)
    if not cohort.finders:
        return augmented_batch(cohort.grey, np.arange(len(cohort)), side, recipe.stress, seed)
    variants = []
    for index, (field, fold) in enumerate(zip(cohort.grey, cohort.fold.tolist(), strict=True)):
        rng = np.random.default_rng((*seed, index))
        acquired_field = acquired(field, len(field), recipe.stress, rng)
        box = cohort.finders[fold].find(whole_film(acquired_field))
        # The server would reject an image without lungs. Here each image has an input; its score counts as any other.
        edges = WHOLE if box is None else box.edges
        variants.append(degraded(normalise(cut(acquired_field, edges, side)), recipe.stress, rng))
    return np.stack(variants)


def _restyled(cohort: Cohort, seed: int) -> NDArray[np.uint8]:
    """Restyle each image. Its donor comes from the same source, so no child gets the spectrum of an adult."""
    rng = np.random.default_rng(seed)
    spectra = radial_spectra(cohort.inputs)
    pneumonia = np.array([radiograph.pneumonia for radiograph in cohort.radiographs])
    variants = []
    for index, image in enumerate(cohort.inputs):
        donors = np.flatnonzero((pneumonia != pneumonia[index]) & (cohort.source == cohort.source[index]))
        variants.append(normalise(restyled(image, spectra[rng.choice(donors)] - spectra[index])))
    return np.stack(variants)
