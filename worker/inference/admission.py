"""Turns pictures into model inputs, with all checks of an image's content: one place for screening and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.card.lung_edges import are_cut_off
from worker.errors import RejectedImage
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier, Scores
from worker.inference.exposure import normalise
from worker.inference.film import Box
from worker.inference.gate import Gate, open_gate
from worker.inference.lung_box import LungBox
from worker.inference.lungs import (
    FIELD_FINENESS,
    FIELD_SIDE,
    WHOLE_SIDE,
    LungFinder,
    cut,
    open_lungs,
    reduced,
)
from worker.inference.margins import has_wide_margin
from worker.inference.preprocess import Film, Picture, checked_film


@dataclass(frozen=True)
class Admitted:
    """A model input that may be scored, and what it shows.

    Attributes:
        model_input: grey values, shape (side, side).
        film: the whole film, normalised, shape (s, s).
        part: left, top, right and bottom of what the model input shows, as shares of the film; None: all of it.
        crop: the film, in pixels of the upright original; None: the whole picture.
        lungs: the part around the lungs that the model input shows, in the same pixels; None: it shows the whole film.
        size: width and height of the upright original, in pixels.
    """

    model_input: NDArray[np.uint8]
    film: NDArray[np.uint8]
    part: tuple[float, float, float, float] | None
    crop: Box | None
    lungs: Box | None
    size: tuple[int, int]

    @property
    def cuts_lungs_off(self) -> bool:
        """Whether part of the lungs may lie beyond the film."""
        film = self.crop or Box(0, 0, *self.size)
        return self.lungs is not None and are_cut_off(self.lungs.corners, film.corners)

    @property
    def mapped(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the film, which the map covers, as shares of the picture's width and height."""
        part, (width, height) = self.crop or Box(0, 0, *self.size), self.size
        return part.left / width, part.top / height, part.right / width, part.bottom / height


class Admission:
    """The preprocessing of a bundle with its gate and its lung network. Not for use by two threads at the same time."""

    def __init__(self, bundle: Bundle) -> None:
        """Load gate and lung network. Raises ModelUnusable."""
        self._side = bundle.side
        self._version = bundle.preprocessing_version
        self._gate: Gate = open_gate(bundle.folder, bundle.card)
        self._lungs: LungFinder | None = open_lungs(bundle.folder, bundle.card)

    def admit(self, picture: Picture) -> Admitted:
        """Return the model input of a picture that may be scored.

        Args:
            picture: a whole JPEG or PNG file, or grey values.

        Raises:
            RejectedImage: the picture cannot be decoded, shows nothing, shows a film on a page, is no frontal chest, or
                shows no lungs.
        """
        film = self._film(picture, self._version)
        whole = film.grey if self._lungs is None else reduced(film.grey, WHOLE_SIDE)
        if has_wide_margin(whole):
            raise RejectedImage("on_a_page")
        return self._seen(film, self._gate.check(normalise(whole)))

    def admit_again(self, picture: Picture, version: str) -> Admitted:
        """Return the model input of a picture that was scored before, with the preprocessing of that time.

        It is not checked again whether it shows a complete frontal film: that check may be newer than the score.

        Raises:
            RejectedImage: the picture cannot be decoded, shows nothing, or shows no lungs.
        """
        film = self._film(picture, version)
        return self._seen(
            film, normalise(film.grey if self._lungs is None else reduced(film.grey, WHOLE_SIDE))
        )

    def _film(self, picture: Picture, version: str) -> Film:
        if self._lungs is None:
            return checked_film(picture, self._side, version)
        return checked_film(picture, FIELD_SIDE, version, FIELD_FINENESS)

    def _seen(self, film: Film, whole: NDArray[np.uint8]) -> Admitted:
        """Return the part of a film that the model sees; `whole` is the normalised film."""
        if self._lungs is None:
            return Admitted(whole, whole, None, film.crop, None, film.size)
        box = self._lungs.find(whole)
        if box is None:
            raise RejectedImage("no_lungs")
        model_input = normalise(cut(film.grey, box.edges, self._side))
        in_original = _in_original(box, film.part)
        return Admitted(model_input, whole, box.edges, film.crop, in_original, film.size)


def score_admitted(classifier: Classifier, images: Sequence[Admitted]) -> Scores:
    """Score images with the model whose admission made them; there is at least one."""
    parts = [image.part for image in images if image.part is not None]
    return classifier.predict_batch(
        np.stack([image.model_input for image in images]),
        np.stack([image.film for image in images]),
        np.array(parts) if parts else None,
    )


def _in_original(box: LungBox, film: Box) -> Box:
    """Return a part of a film, given as shares of it, in pixels of the picture that shows the film."""
    return Box(
        film.left + round(box.left * film.width),
        film.top + round(box.top * film.height),
        film.left + round(box.right * film.width),
        film.top + round(box.bottom * film.height),
    )
