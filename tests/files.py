"""Image files as tests need them: small, distinct, and broken in one way each."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from worker.imagefile.parts import with_comment

PNG_START = b"\x89PNG\r\n\x1a\n"


def grey(width: int = 120, height: int = 100, seed: int = 0) -> Image.Image:
    """A grey picture of noise over a slope: nothing that a gate takes for a blank page."""
    noise = np.random.default_rng(seed).integers(0, 60, (height, width))
    return Image.fromarray((np.linspace(20, 190, width)[None, :] + noise).astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of an image."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(seed: int = 0) -> bytes:
    """A small sound JPEG file, another one for each seed."""
    return encoded(grey(seed=seed), "JPEG")


def distinct(data: bytes, number: int) -> bytes:
    """The same JPEG picture in other bytes, for each number."""
    return with_comment(data, f"copy {number}")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk (PNG, third edition, 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG file that says it is so large, in less than a kilobyte: a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\x00" * 1000)
    return PNG_START + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def sixteen_bit_png() -> bytes:
    """A sound PNG file of 16 bits a pixel."""
    wide = np.asarray(grey(), dtype=np.uint16) * 257
    return encoded(Image.fromarray(wide), "PNG")


def cmyk_jpeg() -> bytes:
    """A JPEG file as it is made for a printer."""
    return encoded(grey().convert("CMYK"), "JPEG")


def harmed(data: bytes, chance: random.Random) -> bytes:
    """The file with a few bytes of its header changed, or cut, or something put in."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(min(2, len(changed) - 1), min(len(changed), 700))] = chance.randrange(256)
    if chance.random() < 0.3:
        del changed[chance.randrange(len(changed)) :]
    if chance.random() < 0.3:
        at = chance.randrange(len(changed) + 1)
        changed[at:at] = chance.randbytes(chance.randint(1, 20))
    return bytes(changed)
