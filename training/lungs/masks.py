"""Lung masks that people drew, beside the images of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from training.data.radiographs import Radiograph
from training.errors import WrongInput


@dataclass(frozen=True)
class Masks:
    """Masks of some images of a training.

    Attributes:
        of: index of the image of each mask, shape (m,).
        lung: share of each place that is lung, 0..255, shape (m, side, side).
    """

    of: NDArray[np.int64]
    lung: NDArray[np.uint8]


def read_masks(folder: Path, radiographs: Sequence[Radiograph], side: int) -> Masks:
    """Read the masks of images: PNG files with the stems of the images' names, lung not black.

    A mask has the geometry of its image, squashed to a square.

    Args:
        folder: the masks.
        radiographs: the images. Those without a mask are left out.
        side: edge of the masks to return, in pixels.

    Raises:
        WrongInput: a mask is no image, or no image has one.
    """
    of, lung = [], []
    for index, radiograph in enumerate(radiographs):
        path = folder / f"{radiograph.path.stem}.png"
        if path.is_file():
            of.append(index)
            lung.append(_read(path, side))
    if not of:
        raise WrongInput(
            f"{folder} holds no mask of any image: a mask has the name of its image, and ends with .png."
        )
    return Masks(np.array(of), np.stack(lung))


def _read(path: Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            # One-bit and grey masks alike: whatever is not black is lung.
            whole = image.convert("L").point(lambda grey: 255 * (grey > 0))
    except (OSError, UnidentifiedImageError) as error:
        raise WrongInput(f"{path} is no mask: {error}.") from None
    return np.array(whole.resize((side, side), Image.Resampling.BOX), np.uint8)
