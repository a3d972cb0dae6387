"""Finds the lungs in a film, and cuts out the part that the network sees.

Where the lungs lie in a picture, and how large they are, differs between machines and between classes: on the training
images, the box around the lungs alone tells the classes apart (docs/model.md). A network that sees every film cut to
its lungs cannot use that, and its scores do not move with the zoom, the borders and the arms of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
# A row or column belongs to the lungs if this many of its pixels are lung, so that specks move no edge.
_PIXELS = 2
_LUNG = 0.5


@dataclass(frozen=True)
class LungBox:
    """The box around both lungs, and what tells whether it can be trusted.

    Attributes:
        left, top, right, bottom: shares of the film's width and height, 0..1.
        area: share of the film that is lung, 0..1.
    """

    left: float
    top: float
    right: float
    bottom: float
    area: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.right, self.bottom

    def widened(self, margin: float) -> LungBox:
        """Return the box with a margin on each side, a share of its width and height.

        It ends with the film. Black strips beyond it would tell the network where the lungs lay.
        """
        x, y = margin * (self.right - self.left), margin * (self.bottom - self.top)
        return LungBox(
            max(0.0, self.left - x),
            max(0.0, self.top - y),
            min(1.0, self.right + x),
            min(1.0, self.bottom + y),
            self.area,
        )


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
        return _probability(self._runtime.run(downsample(whole[np.newaxis], NETWORK_SIDE))[0, :, :, 0])


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


def find_box(lung: NDArray[np.float32], least_area: float) -> LungBox | None:
    """Return the box around the lungs; None: there are none.

    Args:
        lung: the probability that each place of the film is lung, shape (side, side).
        least_area: share of the film that must be lung.
    """
    area = float((lung > _LUNG).mean())
    columns, rows = _extent(_profile(lung, 0)), _extent(_profile(lung, 1))
    if area < least_area or columns is None or rows is None:
        return None
    return LungBox(columns[0], rows[0], columns[1], rows[1], area)


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


def _probability(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    # Beyond 30, one minus the probability is below what float32 can say.
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))), np.float32)


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


def _profile(lung: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the probability that `_PIXELS` pixels of each column (axis 0) or row (axis 1) reach."""
    return np.asarray(np.partition(lung, -_PIXELS, axis=axis).take(-_PIXELS, axis=axis))


def _extent(profile: NDArray[np.float32]) -> tuple[float, float] | None:
    """Return where a profile first and last crosses one half, as shares of its length; None: nowhere."""
    inside = np.flatnonzero(profile > _LUNG)
    if not len(inside):
        return None
    first, last = int(inside[0]), int(inside[-1])
    padded = np.pad(profile.astype(np.float64), 1)
    start = first + 0.5 - _share(padded[first + 1], padded[first])
    end = last + 0.5 + _share(padded[last + 1], padded[last + 2])
    return max(0.0, start / len(profile)), min(1.0, end / len(profile))


def _share(inside: float, outside: float) -> float:
    """Return how far beyond the centre of the inner pixel the profile falls to one half, in pixels."""
    return float((inside - _LUNG) / (inside - outside))
