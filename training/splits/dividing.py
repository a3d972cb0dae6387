"""The splits: which images are held out, and which ones their network is trained on.

They were fixed before any recipe was compared (docs/training.md, "How nightread-0.3.0 was chosen"), and no result may change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.cohort import FOLDER, Cohort
from training.errors import WrongInput
from training.recipe import LungsSection, Recipe, SplitsSection
from training.splits.shortcuts import Flags, Floats, appearance, framing, numbers_in_names, resemblance
from worker.inference.lung_box import LungBox, find_box
from worker.inference.lungs import whole_film
from worker.inference.preprocess import decode_film

# Edge of the films, in pixels, that exposure and sharpness were measured on when the splits were fixed.
_SIDE = 224
EARLY_NUMBERS, SHORTCUT_LIES, FRAMING_LIES = "early_numbers", "shortcut_lies", "framing_lies"


@dataclass(frozen=True)
class Split:
    """A division of the folder's images; no patient is on both sides.

    Attributes:
        name: one of the names above.
        held_out: which images of the cohort are held out, shape (n,).
        trained_on: which images of the folder the network may see, shape (n,). An image can be on neither side: its
            patient has another image that is held out.
    """

    name: str
    held_out: Flags
    trained_on: Flags


def find_splits(recipe: Recipe, cohort: Cohort) -> list[Split]:
    """Return the splits of the recipe's section [splits]; none without that section.

    Args:
        recipe: with a section lungs, if it has a section splits.
        cohort: films that are cut to the lungs.

    Raises:
        WrongInput: a side of a split has no image of a class.
    """
    if recipe.splits is None or recipe.lungs is None:
        return []
    folder = cohort.at(cohort.source == FOLDER)
    pneumonia = np.array([radiograph.pneumonia for radiograph in folder.radiographs])
    patients = [radiograph.patient for radiograph in folder.radiographs]
    held_out = _held_out(recipe.splits, recipe.lungs, folder, pneumonia, patients)
    return [
        _split(name, chosen, pneumonia, patients, cohort.source == FOLDER)
        for name, chosen in held_out.items()
    ]


def early_numbers(stems: Sequence[str], share: float) -> Flags:
    """Hold out the images with the lowest patient numbers of each file family, shape (n,).

    Args:
        stems: names of the files, without suffix.
        share: of the images of each family.
    """
    families, numbers = numbers_in_names(stems)
    held_out = np.zeros(len(stems), dtype=bool)
    for family in np.unique(families[families != ""]):
        of_family = families == family
        held_out |= of_family & (numbers <= np.percentile(numbers[of_family], 100 * share))
    return held_out


def lying(likeness: Floats, pneumonia: Flags, share: float) -> Flags:
    """Hold out the part of each class that looks most like the other one, shape (n,).

    Args:
        likeness: how much each image looks like pneumonia, the same for all images of a patient: see `resemblance`.
        pneumonia: what it is, shape (n,).
        share: of the images of each class.
    """
    like_sick = likeness >= np.percentile(likeness[~pneumonia], 100 * (1 - share))
    like_well = likeness <= np.percentile(likeness[pneumonia], 100 * share)
    return np.asarray(np.where(pneumonia, like_well, like_sick))


def lung_boxes(cohort: Cohort, plan: LungsSection) -> list[LungBox | None]:
    """Return the box around the lungs of each image, without a margin, by the network of its fold."""
    return [
        find_box(cohort.finders[fold].lung(whole_film(field)), plan.least_area)
        for field, fold in zip(cohort.grey, cohort.fold.tolist(), strict=True)
    ]


def _held_out(
    plan: SplitsSection, lungs: LungsSection, folder: Cohort, pneumonia: Flags, patients: Sequence[str]
) -> dict[str, Flags]:
    paths = [radiograph.path for radiograph in folder.radiographs]
    films = (decode_film(path.read_bytes(), _SIDE).grey for path in paths)
    look = appearance(films, [path.stat().st_size for path in paths])
    frame = framing(lung_boxes(folder, lungs))
    return {
        EARLY_NUMBERS: early_numbers([path.stem for path in paths], plan.early_numbers),
        SHORTCUT_LIES: lying(resemblance(look, pneumonia, patients, 1), pneumonia, plan.shortcut_lies),
        FRAMING_LIES: lying(resemblance(frame, pneumonia, patients, 2), pneumonia, plan.framing_lies),
    }


def _split(
    name: str, held_out: Flags, pneumonia: Flags, patients: Sequence[str], of_folder: NDArray[np.bool_]
) -> Split:
    """Return a split of the whole cohort from the images of the folder that it holds out."""
    named = np.array(patients)
    trained_on = ~np.isin(named, np.unique(named[held_out]))
    for side, chosen in (("held out", held_out), ("to train on", trained_on)):
        for kind, of_kind in (("normal", ~pneumonia), ("pneumonia", pneumonia)):
            if not (chosen & of_kind).any():
                raise WrongInput(
                    f"The split {name} has no {kind} image {side}: the images are too few, or their names have no patient "
                    "numbers. Remove the section splits from the recipe."
                )
    whole = np.zeros((2, len(of_folder)), dtype=bool)
    whole[:, of_folder] = held_out, trained_on
    return Split(name, whole[0], whole[1])
