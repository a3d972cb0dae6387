"""Walks over the segments of a JPEG file and the chunks of a PNG file. No other module does this.

Nothing is decoded. Both generators have no limit of their own, and a hostile file can hold millions of parts:
the caller has to stop in time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
# A segment begins with a marker and its length; a chunk with its length and kind, and ends with a checksum.
SEGMENT_HEAD_BYTES = 4
CHUNK_HEAD_BYTES = 8
CHECKSUM_BYTES = 4

# JPEG markers (ITU-T T.81, table B.1), without their first byte.
START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
COMMENT = 0xFE
# Markers that have no length (table B.1), and markers after which Pillow reads no length.
_WITHOUT_LENGTH = frozenset({0x01, 0xC8, 0xD8, END_OF_IMAGE, *range(0xF0, 0xFE)})
# Stuffed bytes, restart markers and fill bytes are part of the data of a scan: they begin no segment.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

# A JPEG segment: its marker, the offset of the marker, the offset after its data. A plain tuple, because a
# named tuple doubles the time of a walk.
Segment = tuple[int, int, int]
# A PNG chunk: its kind, the offset of its length, the offset after its checksum.
Chunk = tuple[bytes, int, int]


def jpeg_segments(data: bytes, longest_gap: int | None = None) -> Iterator[Segment]:
    """Yield the marker segments of a JPEG file (ITU-T T.81, B.1.1).

    Args:
        data: the file, or its start; the last segment may end after the data.
        longest_gap: the largest number of bytes between two segments (the compressed data of a scan, or
            stray bytes). The walk ends at a longer gap. None: no limit.
    """
    reach = 2 + (len(data) if longest_gap is None else longest_gap)
    end = len(JPEG_START)
    while (match := _MARKER.search(data, end, end + reach)) is not None:
        start, end = match.span()
        marker = data[start + 1]
        if marker not in _WITHOUT_LENGTH:
            end += int.from_bytes(data[end : end + 2], "big")
        yield marker, start, end


def png_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks of a PNG file before IEND (PNG, third edition, 5.3).

    Only the first bytes of each chunk are read. The position of the file is undefined afterwards.
    """
    end = len(PNG_START)
    file.seek(end)
    while len(head := file.read(CHUNK_HEAD_BYTES)) == CHUNK_HEAD_BYTES:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return
        start, end = end, end + CHUNK_HEAD_BYTES + length + CHECKSUM_BYTES
        yield kind, start, end
        file.seek(end)


def with_comment(jpeg: bytes, text: str) -> bytes:
    """Add a comment (ITU-T T.81, B.2.4.5): the picture stays the same, and the bytes of the file differ."""
    return JPEG_START + comment_segment(text.encode()) + jpeg[len(JPEG_START) :]


def comment_segment(text: bytes) -> bytes:
    """Return a JPEG segment that holds a comment of at most 65,533 bytes."""
    return bytes((0xFF, COMMENT)) + (len(text) + 2).to_bytes(2, "big") + text
