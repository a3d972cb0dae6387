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

# Left, top, right and bottom of a part of an image, in pixels of the upright original.
Crop = tuple[int, int, int, int]


def colour(value: int) -> tuple[int, int, int, int]:
    """Return red, green, blue and opacity, each 0..255, of a response of 0..255. Response 0 is transparent."""
    for (low, first), (high, second) in pairwise(_STOPS):
        if value <= high:
            share = (value - low) / (high - low)
            red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
            return red, green, blue, round(_MAX_OPACITY * value / 255)
    raise ValueError(f"a response must be 0..255, not {value}")


def map_png(
    activation: bytes,
    height: int,
    width: int,
    image_size: tuple[int, int],
    crop: Crop | None = None,
) -> bytes:
    """Return an activation map as a PNG in the aspect ratio of its image.

    Args:
        activation: `height` x `width` responses of 0..255, row by row.
        height: rows of the map.
        width: columns of the map.
        image_size: width and height of the image.
        crop: the film, which the map covers, squeezed into a square; None: it fills the image. Outside, the map is
            transparent.
    """
    scale = _MAP_SIDE / max(image_size)
    left, top, right, bottom = (round(scale * side) for side in crop or (0, 0, *image_size))
    grey = Pillow.frombytes("L", (width, height), activation).resize(
        (max(1, right - left), max(1, bottom - top)), Pillow.Resampling.BICUBIC
    )
    whole = Pillow.new("L", (max(1, round(scale * image_size[0])), max(1, round(scale * image_size[1]))))
    whole.paste(grey, (left, top))
    return _png(_coloured(whole))


def outline_svg(crop: Crop, image_size: tuple[int, int]) -> bytes:
    """Return an SVG picture in the aspect ratio of an image, with a frame around a part of it."""
    left, top, right, bottom = crop
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {image_size[0]} {image_size[1]}">'
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="none" '
        f'stroke="#ffbe50" stroke-width="{max(image_size) / 400:.2f}"/></svg>'
    ).encode()


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
