"""What scores are measured on: images as they are, stressed, and in the style of the other class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.augment import augmented_batch
from training.data.cohort import Cohort
from training.data.spectrum import radial_spectra, restyled
from training.recipe import Recipe
from worker.inference.preprocess import normalise
from worker.inference.second_look import views

PLAIN, STRESSED, RESTYLED = "plain", "stressed", "restyled"


@dataclass(frozen=True)
class Condition:
    """Model inputs made of the images of a cohort.

    Attributes:
        inputs: uint8, shape (m, side, side).
        of: which image of the cohort each was made of, shape (m,).
    """

    inputs: NDArray[np.uint8]
    of: NDArray[np.int64]


def conditions(recipe: Recipe, cohort: Cohort) -> dict[str, Condition]:
    """All that is measured, by name.

    `plain`: what the server sees. `stressed`: variants of each image by the recipe's [stress].
    `restyled`: each image with the radial spectrum of one of the other class: whoever reads the class
    from sharpness or haze instead of from what is where is wrong on most of them.
    """
    everyone = np.arange(len(cohort))
    stressed = [
        augmented_batch(
            cohort.grey, everyone, recipe.network.side, recipe.stress, (recipe.stress.seed, variant)
        )
        for variant in range(recipe.stress.variants)
    ]
    return {
        PLAIN: Condition(cohort.inputs, everyone),
        STRESSED: Condition(np.concatenate(stressed), np.tile(everyone, recipe.stress.variants)),
        RESTYLED: Condition(_restyled(cohort, recipe.stress.seed), everyone),
    }


def with_views(tried: Mapping[str, Condition]) -> dict[str, Condition]:
    """The trials, and each in the other views of a second look, named by `view_of`."""
    again = {
        view_of(name, view): Condition(inputs, trial.of)
        for name, trial in tried.items()
        for view, inputs in views(trial.inputs).items()
    }
    return {**tried, **again}


def view_of(trial: str, view: str) -> str:
    """The name of a trial in another view."""
    return f"{trial}, {view}"


def _restyled(cohort: Cohort, seed: int) -> NDArray[np.uint8]:
    """Donors come from the same source, so that a child gets no adult's spectrum."""
    rng = np.random.default_rng(seed)
    spectra = radial_spectra(cohort.inputs)
    pneumonia = np.array([each.pneumonia for each in cohort.radiographs])
    variants = []
    for place, image in enumerate(cohort.inputs):
        other = np.flatnonzero((pneumonia != pneumonia[place]) & (cohort.source == cohort.source[place]))
        variants.append(normalise(restyled(image, spectra[rng.choice(other)] - spectra[place])))
    return np.stack(variants)
