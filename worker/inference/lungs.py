"""Finds the lungs in a film, and cuts out the part that the network sees.

Where the lungs lie in a picture, and how large they are, differs between machines and between classes: on the training
images, the box around the lungs alone tells the classes apart (docs/training.md). A network that sees every film cut to
its lungs cannot use that, and its scores do not move with the zoom, the borders and the arms of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.card.identity import LUNGS
from worker.card.loading import parse_section
from worker.card.schema import LungsSection
from worker.errors import ModelUnusable
from worker.inference.exposure import normalise
from worker.inference.gate import downsample
from worker.inference.lung_box import LungBox, find_box, probability
from worker.inference.preprocess import LUNGS_ALONE
from worker.inference.runtime import LiteRtRuntime, Runtime

# Edge of the square film that the lungs are cut from, in pixels, and what the JPEG decoder leaves to the scaling
# (see `preprocess.decode_film`). The lungs take four fifths of the edge, so the network loses no detail.
FIELD_SIDE, FIELD_FINENESS = 192, 4 / 3
# Edge of the whole film, reduced from that, that gate and lung network see after another reduction, in pixels.
WHOLE_SIDE = 128
# Edge of the lung network's input, in pixels.
NETWORK_SIDE = 64
SECTION = "lungs"


class LungFinder:
    """Finds the lungs in a film. Not for use by two threads at the same time."""

    def __init__(self, runtime: Runtime, margin: float, least_area: float) -> None:
        """Keep the network and its rule.

        Args:
            runtime: computes the log-odds that each place is lung, shape (n, 64, 64, 1), from films of 64 pixels.
            margin: added to each side of the lungs' box, as a share of its width and height.
            least_area: share of the film that must be lung.
        """
        self._runtime, self._margin, self._least_area = runtime, margin, least_area

    def find(self, whole: NDArray[np.uint8]) -> LungBox | None:
        """Return the box around the lungs with its margin; None: there are no lungs.

        Args:
            whole: of `whole_film`, or another normalised film, shape (s, s).
        """
        box = find_box(self.lung(whole), self._least_area)
        return None if box is None else box.widened(self._margin)

    def lung(self, whole: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probability that each place of a film is lung, shape (64, 64). Arguments as for `find`."""
        return probability(self._runtime.run(downsample(whole[np.newaxis], NETWORK_SIDE))[0, :, :, 0])


def open_lungs(folder: Path, card: Mapping[str, Any]) -> LungFinder | None:
    """Load the lung network of a bundle, whose files `load_bundle` has verified; None: the bundle has none.

    Raises:
        ModelUnusable: the section, the file or the preprocessing version is missing or does not fit.
    """
    parts = (
        SECTION in card,
        LUNGS in card.get("files", {}),
        card["input"]["preprocessing_version"] == LUNGS_ALONE,
    )
    if not any(parts):
        return None
    if not all(parts):
        raise ModelUnusable(
            f"The card of the model in {folder} must have all of these or none: a section lungs, the file {LUNGS}, and "
            f"preprocessing {LUNGS_ALONE}."
        )
    section = parse_section(LungsSection, card[SECTION], folder, SECTION)
    runtime = LiteRtRuntime(folder / LUNGS)
    _check_network(folder, runtime)
    return LungFinder(runtime, section.margin, section.least_area)


def whole_film(field: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the film as gate and lung network see it: reduced and normalised.

    Args:
        field: grey values, shape (192, 192).

    Returns:
        Grey values 0..255, shape (128, 128).
    """
    return normalise(reduced(field, WHOLE_SIDE))


def reduced(field: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a square scaled to another edge, in pixels."""
    return np.array(Image.fromarray(field).resize((side, side), Image.Resampling.BILINEAR), np.uint8)


def cut(field: NDArray[np.uint8], edges: tuple[float, float, float, float], side: int) -> NDArray[np.uint8]:
    """Return a part of a film, scaled to a square.

    Args:
        field: grey values, shape (s, s).
        edges: left, top, right and bottom of the part, as shares of the film.
        side: edge of the result, in pixels.
    """
    left, top, right, bottom = (edge * len(field) for edge in edges)
    part = (left, top, right, bottom)
    return np.array(Image.fromarray(field).resize((side, side), Image.Resampling.BILINEAR, part), np.uint8)


def _check_network(folder: Path, runtime: Runtime) -> None:
    """Run the network once, so that an incompatible file stops the worker at its start."""
    try:
        log_odds = runtime.run(np.zeros((1, NETWORK_SIDE, NETWORK_SIDE), np.uint8))
    except ValueError as error:
        raise ModelUnusable(
            f"{LUNGS} in {folder} does not accept {NETWORK_SIDE} x {NETWORK_SIDE} pixels."
        ) from error
    if log_odds.shape != (1, NETWORK_SIDE, NETWORK_SIDE, 1):
        raise ModelUnusable(f"{LUNGS} in {folder} does not compute one number for each of its pixels.")
