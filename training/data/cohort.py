"""The images of one training, in memory: whose they are, and which fold each is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import Radiograph, fold_of_each, list_folders, list_table, load
from training.errors import WrongInput
from training.recipe import Recipe
from worker.inference.preprocess import checked_grey, to_model_input

Say = Callable[[str], None]
FOLDER, TABLE = 0, 1


@dataclass(frozen=True)
class Cohort:
    """Images of one training; all of length n.

    Attributes:
        radiographs: what is known of each.
        grey: as decoded, to be augmented: uint8, shape (n, augment.side, augment.side).
        inputs: as the server sees them: uint8, shape (n, side, side).
        source: FOLDER or TABLE.
        fold: 0 .. folds - 1; all images of a patient are in one.
        turned_away: those that could not be used, each with the code of its rejection.
    """

    radiographs: list[Radiograph]
    grey: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    source: NDArray[np.int64]
    fold: NDArray[np.int64]
    turned_away: list[tuple[Radiograph, str]]

    def __len__(self) -> int:
        return len(self.radiographs)

    def at(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Cohort:
        """Some of the images, by index or mask."""
        places = np.arange(len(self))[chosen]
        arrays = (self.grey[places], self.inputs[places], self.source[places], self.fold[places])
        return Cohort([self.radiographs[i] for i in places], *arrays, [])


def read_cohort(recipe: Recipe, data: Path, table: Path | None, limit: int | None, say: Say) -> Cohort:
    """Read a data set and divide it into folds.

    Args:
        recipe: says how.
        data: the folder that holds train/NORMAL and train/PNEUMONIA, or NORMAL and PNEUMONIA.
        table: a CSV of more images (see `list_table`), or None.
        limit: at most so many images, evenly spread over each list; None: all.
        say: takes a line of progress for a person.

    Raises:
        WrongInput: the folder or the table is not a data set, or has too few patients of a kind.
    """
    folder = data / "train" if (data / "train").is_dir() else data
    lists = [list_folders(folder)] + ([list_table(table)] if table is not None else [])
    parts = [_part(recipe, _thinned(each, limit), source, say) for source, each in enumerate(lists)]
    return Cohort(
        [each for part in parts for each in part.radiographs],
        np.concatenate([part.grey for part in parts]),
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.fold for part in parts]),
        [each for part in parts for each in part.turned_away],
    )


def _part(recipe: Recipe, radiographs: Sequence[Radiograph], source: int, say: Say) -> Cohort:
    say(f"reading {len(radiographs)} images of {len({each.patient for each in radiographs})} patients")
    large = load(radiographs, recipe.augment.side, checked_grey)
    small = load(large.radiographs, recipe.network.side, to_model_input)
    if not large.radiographs:
        raise WrongInput("Not one of the images could be read.")
    fold = fold_of_each(large.radiographs, recipe.split.folds, recipe.split.seed)
    return Cohort(
        large.radiographs, large.pixels, small.pixels, np.full(len(fold), source), fold, large.turned_away
    )


def _thinned(radiographs: Sequence[Radiograph], limit: int | None) -> list[Radiograph]:
    if limit is None or limit >= len(radiographs):
        return list(radiographs)
    return [radiographs[i] for i in np.linspace(0, len(radiographs) - 1, limit).round().astype(int)]
