"""Figures of lung networks on images of patients that they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.inference.lung_box import LungBox

_HALF = 0.5


@dataclass(frozen=True)
class Agreement:
    """The agreement of found lungs with masks.

    Attributes:
        images: number of compared images.
        dice: mean Dice coefficient (Dice, Ecology 26, 1945).
        dice_5: its 5th percentile.
        edge: median distance of a box's edge from that of the mask's box, as a share of the side.
        edge_95: its 95th percentile.
        not_found: images without lungs.
    """

    images: int
    dice: float
    dice_5: float
    edge: float
    edge_95: float
    not_found: int


def agreement(
    found: NDArray[np.float32], boxes: Sequence[LungBox | None], masks: NDArray[np.uint8]
) -> Agreement:
    """Compare found lungs with masks.

    Args:
        found: probabilities, shape (n, s, s).
        boxes: around the found lungs; None: no lungs were found.
        masks: 0..255, shape (n, s, s).
    """
    lung, drawn = found > _HALF, masks > _HALF * 255
    both, total = (lung & drawn).sum(axis=(1, 2)), lung.sum(axis=(1, 2)) + drawn.sum(axis=(1, 2))
    dice = 2 * both / np.maximum(total, 1)
    edges = [
        np.abs(np.subtract((box.left, box.top, box.right, box.bottom), _edges(mask)))
        for box, mask in zip(boxes, drawn, strict=True)
        if box is not None
    ]
    distances = np.concatenate(edges) if edges else np.array([np.nan])
    return Agreement(
        len(found),
        float(dice.mean()),
        float(np.percentile(dice, 5)),
        float(np.median(distances)),
        float(np.percentile(distances, 95)),
        sum(box is None for box in boxes),
    )


def _edges(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a mask, as shares of its side."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    side = len(mask)
    return columns[0] / side, rows[0] / side, (columns[-1] + 1) / side, (rows[-1] + 1) / side
