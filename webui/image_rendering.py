"""Small pictures made from stored ones: thumbnails, previews, and the map of the network's response.

Pure: bytes and paths in, encoded images out. Only Pillow, since it is there anyway.
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
# What Pillow raises for bad bytes, by kind of damage.
_BROKEN = (
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
# From deep blue over teal to amber: lightness rises all the way, and the hues differ for
# red-green colour blindness too. Amber is the only warm colour on a grey picture.
_STOPS = ((0, (38, 70, 140)), (128, (42, 150, 160)), (255, (255, 190, 80)))
_OPAQUE_AT_MOST = 150


class NoPreview(Exception):  # noqa: N818 - an outcome, not an error
    """These bytes cannot be shown as a picture."""


def colour(value: int) -> tuple[int, int, int, int]:
    """Red, green, blue and opacity of a response of 0..255; no response is fully transparent."""
    for (low, first), (high, second) in pairwise(_STOPS):
        if value <= high:
            share = (value - low) / (high - low)
            red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
            return red, green, blue, round(_OPAQUE_AT_MOST * value / 255)
    raise ValueError(f"a response of 0..255 is needed, got {value}")


def map_png(activation: bytes, height: int, width: int, shown: tuple[int, int]) -> bytes:
    """Draw a map of `height` x `width` responses, row by row, in the shape of a picture.

    `shown` is the picture's width and height: the map covers all of it, since the network
    sees the picture squashed to a square.
    """
    longest = max(shown)
    size = tuple(max(1, round(_MAP_SIDE * side / longest)) for side in shown)
    grey = Pillow.frombytes("L", (width, height), activation).resize(
        (size[0], size[1]), Pillow.Resampling.BICUBIC
    )
    return _png(_coloured(grey))


def scale_png() -> bytes:
    """The colour scale itself, weak to strong from left to right, for the caption."""
    return _png(_coloured(Pillow.frombytes("L", (256, 1), bytes(range(256)))))


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of a stored picture as it is shown, its EXIF orientation applied.

    Raises OSError when it is gone or no picture.
    """
    with Pillow.open(path, formats=_READABLE) as image:
        turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
        return (image.height, image.width) if turned else image.size


def small_jpeg(path: Path, side: int, max_pixels: int) -> bytes:
    """A stored picture as a JPEG of at most `side` pixels, grey or coloured as it was.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size (Pillow's `draft`), which costs next to
    nothing. Raises NoPreview when the bytes are no such picture or have over `max_pixels`,
    FileNotFoundError when there are none.
    """
    try:
        with Pillow.open(path, formats=_READABLE) as image:
            if image.width * image.height > max_pixels:
                raise NoPreview("too many pixels to decode")
            image.draft(None, (2 * side, 2 * side))
            if image.mode in _SIXTEEN_BIT:
                raise NoPreview("16 bits a pixel, and no window to show them with")
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((side, side))
            return _jpeg(upright.convert("L" if upright.mode in {"1", "L"} else "RGB"))
    except FileNotFoundError:
        raise
    except _BROKEN as error:
        raise NoPreview(str(error)) from error


def _coloured(grey: Pillow.Image) -> Pillow.Image:
    table = [colour(value) for value in range(256)]
    bands = [grey.point([entry[band] for entry in table]) for band in range(4)]
    return Pillow.merge("RGBA", bands)


def _png(image: Pillow.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _jpeg(image: Pillow.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
