"""A second look at images that the first leaves open: the same network on two other views of each.

Averaging a network over views of an image is old (Krizhevsky et al., NIPS 2012). Only images near the
threshold change sides by it, so only these are looked at again: docs/model.md says what it gives and costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Inputs = NDArray[np.uint8]
VIEWS = ("mirrored", "enlarged")
# Of the edge: what of an enlarged image is left.
_LEFT = 0.9


@dataclass(frozen=True)
class SecondLook:
    """Which images are looked at again: those whose p_pneumonia is in low <= p < high at first."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range that is none (NaN fails this too)."""
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ValueError(f"second look: 0 <= low < high <= 1 is needed, got {self.low}, {self.high}")

    def selects(self, p_pneumonia: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of each image, whether it is looked at again."""
        return (p_pneumonia >= self.low) & (p_pneumonia < self.high)


def views(inputs: Inputs) -> dict[str, Inputs]:
    """The other views of model inputs (n, side, side), by their names in `VIEWS`, each of that shape."""
    return {"mirrored": inputs[:, :, ::-1], "enlarged": _enlarged(inputs)}


def average(first: NDArray[np.float32], again: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """The mean evidence of the first look and the others, of the same shape.

    Args:
        first: logits of each place, shape (n, h, w, 3).
        again: the same of each of the `VIEWS`. Mirrored evidence is mirrored back; the enlarged view's
            places are a tenth off at the edge, which a map of so few places does not show.
    """
    return (first.astype(np.float64) + again["mirrored"][:, :, ::-1] + again["enlarged"]) / (1 + len(VIEWS))


def _enlarged(inputs: Inputs) -> Inputs:
    """The middle of each image, as large as the whole."""
    side = inputs.shape[-1]
    edge = side * (1 - _LEFT) / 2
    box = (edge, edge, side - edge, side - edge)
    enlarged = np.empty_like(inputs)
    for index, grey in enumerate(inputs):
        middle = Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR, box)
        enlarged[index] = np.asarray(middle)
    return enlarged
