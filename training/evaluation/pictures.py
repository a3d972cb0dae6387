"""Images for people to look at, each with its activation map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.data.augment import WHOLE, Edges
from training.evaluation.predictions import label_of, name_of
from training.evaluation.scoring import ScoredImages
from training.html.blocks import Panel, Picture
from training.html.pictures import thumbnail

_LONGEST = 288
_WIDTH = 210
# The colours of the maps in the web interface, from weak to strong, so that people learn one scale. Lightness
# increases all the way, and the hues differ for red-green colour blindness too.
_STOPS = (0, 128, 255)
_COLOURS = ((38, 42, 255), (70, 150, 190), (140, 160, 80))
_OPAQUE_AT_MOST = 150 / 255


def panel_of(images: ScoredImages, index: int, root: Path) -> Panel:
    """Return a scored image beside its map, with its name, label and scores."""
    radiograph = images.radiographs[index]
    grey = read_grey(radiograph.path)
    normal, bacterial, viral = images.scores.probabilities[index]
    traits = [f"{name.replace('_years', '')} {value}" for name, value in radiograph.traits.items()]
    name = readable(name_of(radiograph, root))
    truth = label_of(radiograph)
    p, verdict = float(images.scores.p_pneumonia[index]), images.verdicts[index].value
    return Panel(
        [
            thumbnail(grey, f"{name}, {truth}", width=_WIDTH),
            thumbnail(
                overlay(grey, images.scores.activation[index], images.mapped[index]),
                f"Map of {name}",
                width=_WIDTH,
            ),
        ],
        f"Labelled {truth}; score {p:.3f}, {verdict}",
        [
            name,
            f"normal {normal:.3f}, bacterial {bacterial:.3f}, viral {viral:.3f}",
            *filter(None, [", ".join(traits)]),
        ],
    )


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a file as grey values, shape (h, w), upright, its longest edge at most 288 pixels."""
    with Image.open(path) as image:
        image.draft("L", (2 * _LONGEST, 2 * _LONGEST))
        upright = ImageOps.exif_transpose(image).convert("L")
    upright.thumbnail((_LONGEST, _LONGEST))
    return np.asarray(upright, dtype=np.uint8)


def overlay(
    grey: NDArray[np.uint8], activation: NDArray[np.uint8], mapped: Edges = WHOLE
) -> NDArray[np.uint8]:
    """Draw a map over an image.

    Args:
        grey: grey values, shape (h, w).
        activation: the map, shape (rows, columns).
        mapped: what of the image the map covers.

    Returns:
        RGB values, shape (h, w, 3).
    """
    height, width = grey.shape
    left, right = (round(edge * width) for edge in (mapped[0], mapped[2]))
    top, bottom = (round(edge * height) for edge in (mapped[1], mapped[3]))
    size = max(1, right - left), max(1, bottom - top)
    smooth = Image.new("L", (width, height))
    smooth.paste(Image.fromarray(activation).resize(size, Image.Resampling.BICUBIC), (left, top))
    strength = np.asarray(smooth, dtype=np.float64)[..., np.newaxis]
    colour = np.concatenate([np.interp(strength, _STOPS, stops) for stops in _COLOURS], axis=-1)
    opacity = _OPAQUE_AT_MOST * strength / 255
    return np.rint(grey[..., np.newaxis] * (1 - opacity) + colour * opacity).astype(np.uint8)


def scale() -> Picture:
    """Return the colour scale of the maps, from no evidence to the strongest."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    return thumbnail(
        overlay(np.full_like(ramp, 60), ramp),
        "Colours of the map, weak to strong",
        caption="no evidence (left) to strong evidence for pneumonia (right)",
        width=256,
    )


def readable(name: str) -> str:
    """Return the name of a file as text; a file name need not be text."""
    return name.encode("utf-8", "replace").decode()
