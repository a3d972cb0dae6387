"""Says how far an image is from the training data, in the features of the network.

The features of an image are the values of the last layer before the head, added up over all places. The distance is the
Mahalanobis distance to the nearest class mean, with one covariance for all classes (Lee et al., NeurIPS 2018), divided by
the limit on the model card: 1 is the limit, and what is beyond it is marked.

The features are integers, and so is all arithmetic up to one square root and one division, which IEEE 754 rounds exactly.
So the same integers give the same distance on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from worker.card.identity import DISTANCE
from worker.card.loading import parse_section
from worker.card.schema import DistanceSection
from worker.errors import ModelUnusable

SECTION = "distance"
# Whitening weights are integers in units of 2 ** -FINENESS; whitened features in units of 2 ** -KEPT.
FINENESS, KEPT = 30, 10
# Six decimals, as many as the audit trail holds.
_DECIMALS = 6
# Whitened features end here, so that the sum of their squares fits into 64 bits.
_MOST = 1 << 26
_MATRIX = 2


@dataclass(frozen=True)
class Reference:
    """The training data that distances are measured from: class means and covariance.

    Attributes:
        step: of the network's features: each is an integer times this number.
        means: of each class, int64, shape (k, c): features added up over the places, in units of `step`.
        whitening: int64, shape (c, c), in units of 2 ** -FINENESS: it makes the features of each class uncorrelated, with
            a variance of 1.
    """

    step: float
    means: NDArray[np.int64]
    whitening: NDArray[np.int64]

    def measure(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of each image to the nearest class mean, 0 or more, shape (n,).

        Args:
            features: of the network, shape (n, h, w, c).
        """
        steps = np.rint(features.astype(np.float64) / self.step).astype(np.int64)
        sums = steps.sum(axis=(1, 2))
        squares = [self._squared(sums - mean) for mean in self.means]
        nearest: NDArray[np.int64] = np.min(squares, axis=0)
        distances: NDArray[np.float64] = np.sqrt(nearest.astype(np.float64)) / (1 << KEPT)
        return distances

    def _squared(self, differences: NDArray[np.int64]) -> NDArray[np.int64]:
        whitened = (differences @ self.whitening.T) >> (FINENESS - KEPT)
        squared: NDArray[np.int64] = (np.clip(whitened, -_MOST, _MOST) ** 2).sum(axis=1)
        return squared

    def save(self, path: Path) -> None:
        """Write the file of a bundle. The same numbers give the same bytes."""
        np.savez(
            path,
            step=np.float64(self.step),
            means=self.means.astype(np.int32),
            whitening=self.whitening.astype(np.int32),
        )


@dataclass(frozen=True)
class DistanceMeasure:
    """The reference of a model, and the distance that is the limit."""

    reference: Reference
    limit: float

    def measure(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the distance of each image in units of the limit, to six decimals: shape (n,).

        Args:
            features: of the network, shape (n, h, w, c).
        """
        return np.round(self.reference.measure(features) / self.limit, _DECIMALS)


def open_distance(folder: Path, card: Mapping[str, Any]) -> DistanceMeasure | None:
    """Load the distance of a bundle, whose files `load_bundle` has verified; None: the bundle has none.

    Raises:
        ModelUnusable: the section or the file is missing, or does not fit.
    """
    parts = SECTION in card, DISTANCE in card.get("files", {})
    if not any(parts):
        return None
    if not all(parts):
        raise ModelUnusable(
            f"The card of the model in {folder} must have both or neither: a section {SECTION}, and the file {DISTANCE}."
        )
    section = parse_section(DistanceSection, card[SECTION], folder, SECTION)
    return DistanceMeasure(read_reference(folder / DISTANCE), section.limit)


def read_reference(path: Path) -> Reference:
    """Read the file of a bundle. Raises ModelUnusable."""
    try:
        with np.load(path, allow_pickle=False) as content:
            step, means, whitening = (content[name] for name in ("step", "means", "whitening"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelUnusable(f"{path} cannot be read: {error}.") from error
    fits = means.ndim == _MATRIX and len(means) and whitening.shape == (means.shape[1], means.shape[1])
    whole = means.dtype == whitening.dtype == np.int32
    if step.shape or not step > 0 or not fits or not whole:
        raise ModelUnusable(f"{path} does not hold a step, class means and a whitening matrix that fit.")
    return Reference(float(step), means.astype(np.int64), whitening.astype(np.int64))
