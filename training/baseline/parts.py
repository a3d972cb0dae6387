"""The images that the replaced application is trained and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.baseline.images import Colours, rgb, stressed
from training.data.radiographs import Radiograph, fold_of_each, list_folders, list_table
from training.errors import WrongInput
from training.fit.callbacks import PrintLine
from training.recipe import Recipe
from worker.errors import RejectedImage
from worker.inference.preprocess import decode_film


@dataclass(frozen=True)
class Images:
    """Images in memory.

    Attributes:
        radiographs: the readable images.
        pixels: uint8, shape (n, 128, 128, 3).
        place: index of each in the list that it was read from, shape (n,).
    """

    radiographs: list[Radiograph]
    pixels: Colours
    place: NDArray[np.int64]

    @property
    def pneumonia(self) -> NDArray[np.float32]:
        """1 or 0 for each image, shape (n,)."""
        return np.array([radiograph.pneumonia for radiograph in self.radiographs], dtype=np.float32)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len({radiograph.patient for radiograph in self.radiographs})


@dataclass(frozen=True)
class Parts:
    """The images by purpose.

    Attributes:
        training: images to train on.
        held_out: images of other patients: they decide when to stop, and are measured.
        held_out_of: where these come from, for people.
        measured: further sets that are only measured, by name: `test`, `table`.
    """

    training: Images
    held_out: Images
    held_out_of: str
    measured: dict[str, Images]


def read_parts(
    like: Recipe, data: Path, limit: int | None, table: Path | None, print_line: PrintLine
) -> Parts:
    """Read the images; val/ and test/ keep their role.

    Raises:
        WrongInput: the folder is not such a data set, or a part of it has no readable image.
    """
    everything = _thinned(list_folders(data / "train"), limit)
    places = np.arange(len(everything))
    inner, outer, held_out_of = places, None, "val/"
    if not (data / "val").is_dir():
        fold = fold_of_each(everything, like.split.folds, like.split.seed)
        inner, outer = places[fold != 0], places[fold == 0]
        held_out_of = f"fold 0 of {like.split.folds} of train/, by patient"
    others = {"test": list_folders(data / "test")} if (data / "test").is_dir() else {}
    others |= {"table": list_table(table)} if table is not None else {}
    print_line(f"reading {len(inner)} images to train on; held out: {held_out_of}")
    return Parts(
        _read(everything, inner),
        _read(list_folders(data / "val"), None) if outer is None else _read(everything, outer),
        held_out_of,
        {name: _read(radiographs, None) for name, radiographs in others.items()},
    )


def stressed_variants(images: Images, like: Recipe) -> Images:
    """Return the stressed variants of each image, by the [stress] of the shipped recipe."""
    stress, side = like.stress, like.network.side
    greys = [decode_film(radiograph.path.read_bytes(), stress.side).grey for radiograph in images.radiographs]
    variants = [
        stressed(grey, side, stress, np.random.default_rng((stress.seed, variant, int(place))))
        for variant in range(stress.variants)
        for grey, place in zip(greys, images.place, strict=True)
    ]
    return Images(
        images.radiographs * stress.variants, np.stack(variants), np.tile(images.place, stress.variants)
    )


def _thinned(radiographs: Sequence[Radiograph], limit: int | None) -> list[Radiograph]:
    if limit is None or limit >= len(radiographs):
        return list(radiographs)
    return [radiographs[i] for i in np.linspace(0, len(radiographs) - 1, limit).round().astype(int)]


def _read(radiographs: Sequence[Radiograph], chosen: NDArray[np.int64] | None) -> Images:
    readable, pixels = [], []
    for place in range(len(radiographs)) if chosen is None else chosen:
        try:
            pixels.append(rgb(radiographs[place].path.read_bytes()))
        except RejectedImage:
            continue
        readable.append(int(place))
    if not readable:
        raise WrongInput("None of the images could be read.")
    return Images([radiographs[place] for place in readable], np.stack(pixels), np.array(readable))
