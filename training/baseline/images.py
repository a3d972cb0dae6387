"""The replaced application's network input: 128 x 128 RGB, without normalised exposure."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.baseline.recipe import BaselineAugment
from training.data.augment import acquired, degraded
from training.recipe import StressSection
from worker.errors import RejectedImage

SIDE = 128
Colours = NDArray[np.uint8]
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def rgb(data: bytes) -> Colours:
    """Decode a file completely, convert it to RGB and squash it to a square.

    Args:
        data: the content of an image file.

    Returns:
        Shape (128, 128, 3).

    Raises:
        RejectedImage: `undecodable`.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _squashed(image)
    except _BROKEN as error:
        raise RejectedImage("undecodable", detail=type(error).__name__) from None


def network_input(path: Path) -> NDArray[np.float32]:
    """Return the network input of a file: 0..1, shape (1, 128, 128, 3)."""
    return scaled(rgb(path.read_bytes())[np.newaxis])


def scaled(pixels: Colours) -> NDArray[np.float32]:
    """Scale 0..255 to 0..1."""
    return pixels.astype(np.float32) / np.float32(255)


def varied(pixels: Colours, recipe: BaselineAugment, rng: np.random.Generator) -> Colours:
    """Rotate, shift and flip an image of shape (128, 128, 3); the border repeats the edge."""
    angle = math.radians(rng.uniform(-recipe.rotation, recipe.rotation))
    x, y = rng.uniform(-recipe.shift, recipe.shift, 2) * SIDE
    border = SIDE // 2
    padded = Image.fromarray(np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge"))
    # PIL maps output to input coordinates; both turn about their centres.
    half, cos, sin = SIDE / 2, math.cos(angle), math.sin(angle)
    mirror = -1.0 if rng.random() < recipe.flip else 1.0
    a, b, d, e = mirror * cos, -sin, mirror * sin, cos
    centre_x, centre_y = border + half + x, border + half + y
    matrix = (a, b, centre_x - (a + b) * half, d, e, centre_y - (d + e) * half)
    moved = padded.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved)


def stressed(grey: NDArray[np.uint8], side: int, recipe: StressSection, rng: np.random.Generator) -> Colours:
    """Draw one stressed variant, as it would reach this network in a file.

    The draws and changes are those of `training.data.augment.augmented`, in the same order, without its
    normalisation of the exposure. The replaced application had none, so exposure, contrast and haze stay
    as the other machine made them.

    Args:
        grey: as decoded, shape (recipe.side, recipe.side).
        side: of the shipped model's input, at which blur, noise and JPEG are applied.
        recipe: the ranges to draw from.
        rng: random stream; the state that `augmented` gets makes the same variant.

    Returns:
        Shape (128, 128, 3).
    """
    return _squashed(Image.fromarray(degraded(acquired(grey, side, recipe, rng), recipe, rng)))


def _squashed(image: Image.Image) -> Colours:
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE)))
