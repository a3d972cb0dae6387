"""All checks of an image's content, in one place for screening and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import RejectedImage
from worker.inference.film import Box
from worker.inference.gate import Gate
from worker.inference.margins import has_wide_margin
from worker.inference.preprocess import PREPROCESSING_VERSION, Picture, checked_film, normalise


@dataclass(frozen=True)
class Admitted:
    """A model input that may be scored, shape (side, side), and the part of the picture that it shows.

    `crop` is in pixels of the upright original; None: the whole picture.
    """

    model_input: NDArray[np.uint8]
    crop: Box | None


def admit(picture: Picture, side: int, gate: Gate, version: str = PREPROCESSING_VERSION) -> Admitted:
    """Return the model input of a picture that may be scored.

    Args:
        picture: a whole JPEG or PNG file, or grey values.
        side: edge of the model input, in pixels.
        gate: of the bundle.
        version: of the preprocessing.

    Raises:
        RejectedImage: the picture cannot be decoded, shows nothing, shows a film on a page, or is no frontal chest.
    """
    film = checked_film(picture, side, version)
    if has_wide_margin(film.grey):
        raise RejectedImage("on_a_page")
    return Admitted(gate.check(normalise(film.grey)), film.crop)
