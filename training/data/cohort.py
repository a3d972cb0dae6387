"""The images of one training run, in memory, with their folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.augment import WHOLE
from training.data.radiographs import Loaded, Radiograph, fold_of_each, list_folders, list_table, load
from training.errors import WrongInput
from training.recipe import Recipe
from worker.inference.lungs import FIELD_FINENESS, LungFinder, whole_film
from worker.inference.preprocess import checked_film, checked_grey, to_model_input

PrintLine = Callable[[str], None]
FOLDER, TABLE = 0, 1


@dataclass(frozen=True)
class Cohort:
    """The images of one training run; all attributes have length n.

    Attributes:
        radiographs: labels and patients.
        grey: decoded films, for augmentation: uint8, shape (n, augment.side, augment.side).
        inputs: as the server sees them: uint8, shape (n, side, side).
        parts: what of each film the inputs show: left, top, right, bottom as shares of it, shape (n, 4).
        source: FOLDER or TABLE.
        fold: 0 .. folds - 1; all images of a patient are in one fold.
        rejected: images that could not be used, each with its rejection code.
        finders: for each fold, what finds the lungs of its images; none: the inputs show whole films.
    """

    radiographs: list[Radiograph]
    grey: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    parts: NDArray[np.float64]
    source: NDArray[np.int64]
    fold: NDArray[np.int64]
    rejected: list[tuple[Radiograph, str]]
    finders: Sequence[LungFinder] = ()

    def __len__(self) -> int:
        return len(self.radiographs)

    def at(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Cohort:
        """Return the images at these indices or in this mask."""
        indices = np.arange(len(self))[chosen]
        return Cohort(
            [self.radiographs[i] for i in indices],
            self.grey[indices],
            self.inputs[indices],
            self.parts[indices],
            self.source[indices],
            self.fold[indices],
            [],
            self.finders,
        )


def read_cohort(
    recipe: Recipe, data: Path, table: Path | None, limit: int | None, print_line: PrintLine
) -> Cohort:
    """Read a data set and divide it into folds. Its inputs show whole films: `training.lungs.finding` cuts them.

    Args:
        recipe: sides, folds and seed.
        data: the folder that holds train/NORMAL and train/PNEUMONIA, or NORMAL and PNEUMONIA.
        table: a CSV of more images (see `list_table`), or None.
        limit: maximum number of images, evenly spread over each list; None: all.
        print_line: called with each line of progress.

    Raises:
        WrongInput: the folder or the table is not a data set, or has too few patients of a class.
    """
    folder = data / "train" if (data / "train").is_dir() else data
    lists = [list_folders(folder)] + ([list_table(table)] if table is not None else [])
    parts = [
        _part(recipe, _thinned(listed, limit), source, print_line) for source, listed in enumerate(lists)
    ]
    return Cohort(
        [radiograph for part in parts for radiograph in part.radiographs],
        np.concatenate([part.grey for part in parts]),
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.parts for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.fold for part in parts]),
        [rejection for part in parts for rejection in part.rejected],
    )


def _part(recipe: Recipe, radiographs: Sequence[Radiograph], source: int, print_line: PrintLine) -> Cohort:
    print_line(
        f"reading {len(radiographs)} images of {len({radiograph.patient for radiograph in radiographs})} patients"
    )
    large = load(radiographs, recipe.augment.side, checked_grey if recipe.lungs is None else _field)
    if not large.radiographs:
        raise WrongInput("None of the images could be read.")
    fold = fold_of_each(large.radiographs, recipe.split.folds, recipe.split.seed)
    return Cohort(
        large.radiographs,
        large.pixels,
        _inputs(recipe, large),
        np.tile(WHOLE, (len(fold), 1)),
        np.full(len(fold), source),
        fold,
        large.rejected,
    )


def _field(data: bytes, side: int) -> NDArray[np.uint8]:
    return checked_film(data, side, fineness=FIELD_FINENESS).grey


def _inputs(recipe: Recipe, large: Loaded) -> NDArray[np.uint8]:
    if recipe.lungs is None:
        return load(large.radiographs, recipe.network.side, to_model_input).pixels
    return np.stack([whole_film(field) for field in large.pixels])


def _thinned(radiographs: Sequence[Radiograph], limit: int | None) -> list[Radiograph]:
    if limit is None or limit >= len(radiographs):
        return list(radiographs)
    return [radiographs[i] for i in np.linspace(0, len(radiographs) - 1, limit).round().astype(int)]
