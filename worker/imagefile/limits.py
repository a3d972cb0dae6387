"""The limits that an image file must keep before a library reads its header.

Pillow reads every segment and chunk in Python, and keeps most of them: for a file of 64 MB with nothing but
empty segments it needed a minute and a gigabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from worker.errors import RejectedImage
from worker.imagefile.jpeg_frame import check_frame
from worker.imagefile.parts import (
    JPEG_START,
    PNG_START,
    SEGMENT_HEAD_BYTES,
    START_OF_SCAN,
    jpeg_segments,
    png_chunks,
)

if TYPE_CHECKING:
    # The process that makes renditions would need a second to import it.
    from worker.config import Settings

# The limit of bytes before the picture. The header of a radiograph has some ten parts and a few kilobytes.
# The longest valid headers hold an ICC profile in segments of 64 KB, or the history of an editor.
LONGEST_HEADER = 4 * 1024**2
MOST_PARTS = 500
# The limit of parts that hold the picture. A PNG writer chooses their size; this allows 64 MB in kilobytes.
MOST_PIECES = 65_536

# A decoder stops with an error at these markers (ITU-T T.81, table B.1).
_RESERVED_MARKERS = range(0x02, 0xC0)


@dataclass(frozen=True)
class Limits:
    """The largest and the smallest image that is accepted: bytes of the file, pixels, pixels of a side."""

    max_bytes: int
    max_pixels: int
    min_side: int


def limits_of(settings: Settings) -> Limits:
    """Return the limits that the settings name."""
    return Limits(settings.max_bytes, settings.max_pixels, settings.min_side)


def check_bytes(size: int, limits: Limits) -> None:
    """Check the size of a file. Raises RejectedImage."""
    if size == 0:
        raise RejectedImage("empty")
    if size > limits.max_bytes:
        raise RejectedImage("too_many_bytes", bytes=size, limit=limits.max_bytes)


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Check the size of a picture. Raises RejectedImage."""
    if width * height > limits.max_pixels:
        raise RejectedImage("too_many_pixels", width=width, height=height, limit=limits.max_pixels)
    if min(width, height) < limits.min_side:
        raise RejectedImage("too_small", width=width, height=height, limit=limits.min_side)


def check_parts(file: BinaryIO) -> None:
    """Count the parts of a JPEG or PNG file from its start, and check the kind of JPEG, without reading its picture.

    Damage is left to the decoder. The position of the file is undefined afterwards.

    Raises:
        RejectedImage: `too_many_parts` or `unsupported_jpeg`.
    """
    if file.read(len(PNG_START)) == PNG_START:
        _check_png(file)
    else:
        file.seek(0)
        _check_jpeg(file.read(LONGEST_HEADER))


def _check_jpeg(header: bytes) -> None:
    """Count the segments before the first scan; each stray byte counts as a part."""
    parts, last_end = 0, len(JPEG_START)
    for marker, start, end in jpeg_segments(header, longest_gap=MOST_PARTS):
        parts += start - last_end + 1
        if parts > MOST_PARTS:
            raise RejectedImage("too_many_parts")
        check_frame(marker, header, start)
        if marker == START_OF_SCAN or marker in _RESERVED_MARKERS:
            return
        last_end = end
    parts += max(0, len(header) - last_end - SEGMENT_HEAD_BYTES + 1)
    if parts > MOST_PARTS or len(header) == LONGEST_HEADER:
        raise RejectedImage("too_many_parts")


def _check_png(file: BinaryIO) -> None:
    """Count all chunks, because a library also reads the chunks after the picture."""
    parts = pieces = 0
    for kind, _, end in png_chunks(file):
        if kind == b"IDAT":
            pieces += 1
        else:
            parts += 1
        if parts > MOST_PARTS or pieces > MOST_PIECES or (not pieces and end > LONGEST_HEADER):
            raise RejectedImage("too_many_parts")
