"""Activation maps and their colour scale as pictures. Pure: numbers in, PNG out. Nothing is decoded here."""

from __future__ import annotations

import io
from itertools import pairwise

from PIL import Image as Pillow

_MAP_SIDE = 256
# From blue over teal to amber. Lightness rises with the response, and people with red-green colour
# blindness can tell the hues apart.
_STOPS = ((0, (38, 70, 140)), (128, (42, 150, 160)), (255, (255, 190, 80)))
_MAX_OPACITY = 150


def colour(value: int) -> tuple[int, int, int, int]:
    """Return red, green, blue and opacity, each 0..255, of a response of 0..255. Response 0 is transparent."""
    for (low, first), (high, second) in pairwise(_STOPS):
        if value <= high:
            share = (value - low) / (high - low)
            red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
            return red, green, blue, round(_MAX_OPACITY * value / 255)
    raise ValueError(f"a response must be 0..255, not {value}")


def map_png(activation: bytes, height: int, width: int, image_size: tuple[int, int]) -> bytes:
    """Return an activation map as a PNG in the aspect ratio of its image.

    Args:
        activation: `height` x `width` responses of 0..255, row by row.
        height: rows of the map.
        width: columns of the map.
        image_size: width and height of the image. The map covers all of it, since the network sees the
            image squeezed into a square.
    """
    longest = max(image_size)
    size = tuple(max(1, round(_MAP_SIDE * side / longest)) for side in image_size)
    grey = Pillow.frombytes("L", (width, height), activation).resize(
        (size[0], size[1]), Pillow.Resampling.BICUBIC
    )
    return _png(_coloured(grey))


def scale_png() -> bytes:
    """Return the colour scale as a PNG, weak to strong from left to right."""
    return _png(_coloured(Pillow.frombytes("L", (256, 1), bytes(range(256)))))


def _coloured(grey: Pillow.Image) -> Pillow.Image:
    table = [colour(value) for value in range(256)]
    bands = [grey.point([entry[band] for entry in table]) for band in range(4)]
    return Pillow.merge("RGBA", bands)


def _png(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
