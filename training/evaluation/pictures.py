"""Images as a person looks at them, each with the map of what moved its score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.evaluation.predictions import label_of, name_of
from training.evaluation.scoring import ScoredImages
from training.html.blocks import Card, Picture
from training.html.pictures import thumbnail

_LONGEST = 288
_WIDTH = 210
# The colours of the web page's maps, from weak to strong, so that one scale has to be learned:
# lightness rises all the way, and the hues differ for red-green colour blindness too.
_STOPS = (0, 128, 255)
_COLOURS = ((38, 42, 255), (70, 150, 190), (140, 160, 80))
_OPAQUE_AT_MOST = 150 / 255


def card_of(examined: ScoredImages, index: int, root: Path) -> Card:
    """A scored image beside its map, with its name, its truth and what the model says."""
    radiograph = examined.radiographs[index]
    grey = shown(radiograph.path)
    normal, bacterial, viral = examined.scores.probabilities[index]
    traits = [f"{name.replace('_years', '')} {value}" for name, value in radiograph.traits.items()]
    name = readable(name_of(radiograph, root))
    truth = label_of(radiograph)
    p, verdict = float(examined.scores.p_pneumonia[index]), examined.verdicts[index].value
    return Card(
        [
            thumbnail(grey, f"{name}, {truth}", width=_WIDTH),
            thumbnail(overlaid(grey, examined.scores.activation[index]), f"Map of {name}", width=_WIDTH),
        ],
        f"Labelled {truth}; score {p:.3f}, {verdict}",
        [
            name,
            f"normal {normal:.3f}, bacterial {bacterial:.3f}, viral {viral:.3f}",
            *filter(None, [", ".join(traits)]),
        ],
    )


def shown(path: Path) -> NDArray[np.uint8]:
    """A file as grey values, shape (h, w), upright, its longest edge at most 288 pixels."""
    with Image.open(path) as image:
        image.draft("L", (2 * _LONGEST, 2 * _LONGEST))
        upright = ImageOps.exif_transpose(image).convert("L")
    upright.thumbnail((_LONGEST, _LONGEST))
    return np.asarray(upright, dtype=np.uint8)


def overlaid(grey: NDArray[np.uint8], activation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map of shape (rows, columns) over the whole of an image (h, w), as red, green and blue (h, w, 3).

    The network sees the image squashed to a square, so the map covers all of it.
    """
    height, width = grey.shape
    smooth = Image.fromarray(activation).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.asarray(smooth, dtype=np.float64)[..., np.newaxis]
    colour = np.concatenate([np.interp(strength, _STOPS, stops) for stops in _COLOURS], axis=-1)
    opacity = _OPAQUE_AT_MOST * strength / 255
    return np.rint(grey[..., np.newaxis] * (1 - opacity) + colour * opacity).astype(np.uint8)


def scale() -> Picture:
    """The colours of the map, from no evidence to the strongest."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    return thumbnail(
        overlaid(np.full_like(ramp, 60), ramp),
        "Colours of the map, weak to strong",
        caption="no evidence (left) to strong evidence for pneumonia (right)",
        width=256,
    )


def readable(name: str) -> str:
    """A file's name as text: it need not be any."""
    return name.encode("utf-8", "replace").decode()
