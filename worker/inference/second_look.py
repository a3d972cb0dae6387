"""The second look: the network also scores two other views of an image, and the results are averaged.

Averaging over views of an image is a known method (Krizhevsky et al., NIPS 2012). It changes the verdict of
images near the threshold only, so only these get a second look. docs/model.md has its benefit and its cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Inputs = NDArray[np.uint8]
VIEWS = ("mirrored", "enlarged")
# The share of the edge that the enlarged view shows.
_ENLARGED_SHARE = 0.9


@dataclass(frozen=True)
class SecondLook:
    """The range of first scores, low <= p_pneumonia < high, that get a second look."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Raise ValueError for an empty or invalid range; NaN is not valid either."""
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ValueError(f"second look: 0 <= low < high <= 1 must hold, got {self.low}, {self.high}")

    def selects(self, p_pneumonia: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each score whether its image gets a second look."""
        return (p_pneumonia >= self.low) & (p_pneumonia < self.high)


def views(inputs: Inputs) -> dict[str, Inputs]:
    """Return name in `VIEWS` -> that view of the model inputs; all have the shape (n, side, side)."""
    return {"mirrored": inputs[:, :, ::-1], "enlarged": _enlarged(inputs)}


def average(first: NDArray[np.float32], view_evidence: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the mean evidence of the first look and the views, of the same shape.

    Args:
        first: logits at each place, shape (n, h, w, 3).
        view_evidence: name in `VIEWS` -> logits of this view, same shape. Mirrored evidence is mirrored back.
            The places of the enlarged view are off by a tenth at the edge, which a map of 8 x 8 does not
            show.
    """
    total = first.astype(np.float64) + view_evidence["mirrored"][:, :, ::-1] + view_evidence["enlarged"]
    return np.asarray(total / (1 + len(VIEWS)))


def _enlarged(inputs: Inputs) -> Inputs:
    """Enlarge the middle of each image to the full size."""
    side = inputs.shape[-1]
    edge = side * (1 - _ENLARGED_SHARE) / 2
    box = (edge, edge, side - edge, side - edge)
    enlarged = np.empty_like(inputs)
    for index, grey in enumerate(inputs):
        middle = Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR, box)
        enlarged[index] = np.asarray(middle)
    return enlarged
