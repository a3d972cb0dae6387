"""Recognises the format of a file from its bytes, not its name, and checks its limits.

Only the header is read; nothing is decoded. The worker checks again before it decodes, so that a retried
image has to keep the same limits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image as Pillow
from PIL import PngImagePlugin

from worker.errors import RejectedImage, raise_fault
from worker.imagefile.limits import LONGEST_HEADER, Limits, check_bytes, check_parts, check_pixels
from worker.imagefile.parts import PNG_START

# The bit depth is the 25th byte of a PNG file (PNG, third edition, 11.2.1).
_PNG_BIT_DEPTH_AT = 24
_READABLE = ("JPEG", "PNG")
# The exceptions that Pillow raises for damaged headers.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)
# The decoder rejects an image with an alpha channel unless all of it is opaque.
_READABLE_MODES = {"L", "RGB", "P", "1", "LA", "RGBA", "I;16"}
_SIXTEEN_BIT = 16
HEADER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Inspection:
    """Facts from the header: `format` is `jpeg`, `png` or `png16` (16 bits), `width` and `height` are in pixels."""

    format: str
    width: int
    height: int


def inspect(file: BinaryIO, size: int, limits: Limits) -> Inspection:
    """Inspect a file of `size` bytes, from its first byte. Raises RejectedImage with the reason, or OSError."""
    check_bytes(size, limits)
    header = file.read(HEADER_BYTES)
    file.seek(0)
    _check_signature(header)
    check_parts(file)
    file.seek(0)
    # Our own limit is checked below, before anything is decoded.
    Pillow.MAX_IMAGE_PIXELS = None
    # The limit for all compressed texts together, unpacked. The default of Pillow is 64 MB.
    PngImagePlugin.MAX_TEXT_MEMORY = LONGEST_HEADER
    try:
        with Pillow.open(file, formats=_READABLE) as image:
            _check_image(image, header, limits)
            return Inspection(_name(image), image.width, image.height)
    except _DAMAGED as error:
        raise_fault(error)
        raise RejectedImage("undecodable", detail="its header is damaged") from error


def _check_signature(header: bytes) -> None:
    if header.startswith((b"\xff\xd8\xff", PNG_START)):
        return
    for magic, name in _OTHER_FORMATS:
        if header.startswith(magic):
            raise RejectedImage("unsupported_format", format=name)
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        raise RejectedImage("unsupported_format", format="WebP")
    raise RejectedImage("not_an_image")


_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
)


def _check_image(image: Pillow.Image, header: bytes, limits: Limits) -> None:
    check_pixels(*image.size, limits)
    if image.mode == "CMYK":
        raise RejectedImage("cmyk")
    if image.format == "PNG":
        _check_png(image, header)
    if image.mode not in _READABLE_MODES:
        raise RejectedImage("undecodable", detail=f"pixels of mode {image.mode} are not supported")


def _check_png(image: Pillow.Image, header: bytes) -> None:
    """Check what only PNG files can have. A JPEG with more pictures (MPO) has its main picture first."""
    if header[_PNG_BIT_DEPTH_AT] == _SIXTEEN_BIT and image.mode != "I;16":
        raise RejectedImage("sixteen_bit")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise RejectedImage("animated", frames=frames)


def _name(image: Pillow.Image) -> str:
    if image.format != "PNG":
        return "jpeg"
    return "png16" if image.mode == "I;16" else "png"
