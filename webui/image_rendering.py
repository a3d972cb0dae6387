"""Renderings of stored images: thumbnails, previews and activation maps.

Pure: bytes and paths in, encoded images out.
"""

from __future__ import annotations

import io
import struct
from itertools import pairwise
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageOps

THUMBNAIL_SIDE = 160
PREVIEW_SIDE = 480
_MAP_SIDE = 256
_READABLE = ("JPEG", "PNG")
_SIXTEEN_BIT = {"I", "I;16", "I;16B", "F"}
# The exceptions that Pillow raises for damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    EOFError,
    struct.error,
    Pillow.DecompressionBombError,
)
# From blue over teal to amber. Lightness rises with the response, and people with red-green colour
# blindness can tell the hues apart.
_STOPS = ((0, (38, 70, 140)), (128, (42, 150, 160)), (255, (255, 190, 80)))
_MAX_OPACITY = 150


class NoPreview(Exception):  # noqa: N818 - an outcome, not an error
    """The file cannot be shown as an image."""


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


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of a stored image after its EXIF orientation is applied.

    Raises OSError when the file is missing or not an image.
    """
    with Pillow.open(path, formats=_READABLE) as image:
        rotated = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        return (image.height, image.width) if rotated else image.size


def small_jpeg(path: Path, side: int, max_pixels: int) -> bytes:
    """Return a stored image as a JPEG of at most `side` pixels a side, in grey or in colour as it was.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size (Pillow's `draft`), which is cheap.

    Raises:
        NoPreview: the file cannot be decoded, or has more than `max_pixels` pixels.
        FileNotFoundError: the file is missing.
    """
    try:
        with Pillow.open(path, formats=_READABLE) as image:
            if image.width * image.height > max_pixels:
                raise NoPreview("too many pixels to decode")
            image.draft(None, (2 * side, 2 * side))
            if image.mode in _SIXTEEN_BIT:
                raise NoPreview("16 bits per pixel")
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((side, side))
            return _jpeg(upright.convert("L" if upright.mode in {"1", "L"} else "RGB"))
    except FileNotFoundError:
        raise
    except _DECODE_ERRORS as error:
        raise NoPreview(str(error)) from error


def _coloured(grey: Pillow.Image) -> Pillow.Image:
    table = [colour(value) for value in range(256)]
    bands = [grey.point([entry[band] for entry in table]) for band in range(4)]
    return Pillow.merge("RGBA", bands)


def _png(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _jpeg(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
