"""Writes and reads the mark of a phantom in the header of its file."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.imagefile.parts import (
    CHECKSUM_BYTES,
    CHUNK_HEAD_BYTES,
    COMMENT,
    JPEG_START,
    PNG_START,
    SEGMENT_HEAD_BYTES,
    START_OF_SCAN,
    jpeg_segments,
    png_chunks,
)

PHANTOM_MARK = b"nightread phantom"

_PNG_KEYWORD = b"Comment"


def save_marked(image: Image.Image, path: Path, *, quality: int) -> None:
    """Save a phantom with the mark: as PNG if the name ends in .png, else as JPEG of this quality."""
    if path.suffix.lower() == ".png":
        mark = PngInfo()
        mark.add_text(_PNG_KEYWORD.decode("ascii"), PHANTOM_MARK.decode("ascii"))
        image.save(path, "PNG", pnginfo=mark)
    else:
        image.save(path, "JPEG", quality=quality, comment=PHANTOM_MARK)


def is_phantom(data: bytes) -> bool:
    """Return whether the header of a JPEG or PNG file has the mark.

    Args:
        data: the file, or its first kilobyte or more.
    """
    if data.startswith(JPEG_START):
        return _is_marked_jpeg(data)
    return data.startswith(PNG_START) and _is_marked_png(data)


def _is_marked_jpeg(data: bytes) -> bool:
    """Look for the comment before the first scan."""
    for marker, start, end in jpeg_segments(data):
        if marker == START_OF_SCAN:
            return False
        if marker == COMMENT and data[start + SEGMENT_HEAD_BYTES : end] == PHANTOM_MARK:
            return True
    return False


def _is_marked_png(data: bytes) -> bool:
    """Look for the text chunk before the pixels."""
    text = _PNG_KEYWORD + b"\0" + PHANTOM_MARK
    for kind, start, end in png_chunks(io.BytesIO(data)):
        if kind == b"IDAT":
            return False
        if kind == b"tEXt" and data[start + CHUNK_HEAD_BYTES : end - CHECKSUM_BYTES] == text:
            return True
    return False
