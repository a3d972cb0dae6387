"""Image files for tests: small, distinct, and broken in one way each."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.imagefile.parts import with_comment

# Each has one character that a shell, a URL, a configuration file or a pattern may misread.
AWKWARD_NAMES = [
    "with space", "two  spaces", "trailing space ", "Röntgen", "夜", "hash#1", "percent%41", "question?x=1",
    "single'quote", 'double"quote', "back\\slash", "dollar$HOME", "semi;colon", "brackets[1]", "star*", "at@colon:1",
    "two\nlines", "tab\tulator",
]  # fmt: skip

PNG_START = b"\x89PNG\r\n\x1a\n"


def grey(width: int = 120, height: int = 100, seed: int = 0) -> Image.Image:
    """Return a grey image of noise on a gradient, which no check takes for a blank image."""
    noise = np.random.default_rng(seed).integers(0, 60, (height, width))
    return Image.fromarray((np.linspace(20, 190, width)[None, :] + noise).astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(seed: int = 0) -> bytes:
    """Return a small valid JPEG file; each seed gives another picture."""
    return encoded(grey(seed=seed), "JPEG")


def distinct(data: bytes, number: int) -> bytes:
    """Return the same JPEG picture in other bytes; each number gives other bytes."""
    return with_comment(data, f"copy {number}")


def overwrite(path: Path, data: bytes) -> None:
    """Change the bytes of a read-only file, as a bad disk does."""
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk (PNG, third edition, 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *, depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG file of under a kilobyte that claims this size: a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"\x00" * 1000)
    return PNG_START + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def sixteen_bit_png() -> bytes:
    """Return a valid PNG file with 16 bits per pixel."""
    wide = np.asarray(grey(), dtype=np.uint16) * 257
    return encoded(Image.fromarray(wide), "PNG")


def cmyk_jpeg() -> bytes:
    """Return a JPEG file in the colours of print."""
    return encoded(grey().convert("CMYK"), "JPEG")


def harmed(data: bytes, chance: random.Random) -> bytes:
    """Return the file with some bytes of its header changed, and perhaps truncated or with bytes inserted."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(min(2, len(changed) - 1), min(len(changed), 700))] = chance.randrange(256)
    if chance.random() < 0.3:
        del changed[chance.randrange(len(changed)) :]
    if chance.random() < 0.3:
        at = chance.randrange(len(changed) + 1)
        changed[at:at] = chance.randbytes(chance.randint(1, 20))
    return bytes(changed)
