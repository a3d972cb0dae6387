"""Of how many parts a file is made, counted before a library looks at any of them.

A library goes through every segment and chunk in Python, and keeps most of them: one file of 64 MB made
of nothing but empty ones took it a minute and a gigabyte, at the door, where nothing bounds either.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from worker.errors import RejectedImage

# What comes before the picture. A radiograph's header has some ten parts and a few kilobytes; the
# longest honest ones have an ICC profile in segments of 64 KB, or a history of what an editor did.
LONGEST_HEADER = 4 * 1024**2
MOST_PARTS = 500
# The picture itself, which a PNG writer may cut as it likes: 64 MB in pieces of a kilobyte.
MOST_PIECES = 65_536

_PNG_START = b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN = 0xDA
# Markers that stand alone (ITU-T T.81, table B.1), and those after which Pillow reads no length either.
_ALONE = frozenset({0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE), 0xFF})
_LEAST_MARKER = 0xC0


def check_parts(file: BinaryIO) -> None:
    """Walk over a JPEG or PNG file from its start, without reading its picture.

    What is damaged is left for the decoder to say. The file's position is then anywhere.

    Raises:
        RejectedImage: `too_many_parts`.
    """
    if file.read(len(_PNG_START)) == _PNG_START:
        _walk_png(file)
    else:
        file.seek(0)
        _walk_jpeg(file.read(LONGEST_HEADER))


def _walk_jpeg(header: bytes) -> None:
    """Walk the segments before the first scan (ITU-T T.81, B.1.1); stray bytes count as parts."""
    at = 2
    for _ in range(MOST_PARTS):
        if at + 4 > len(header):
            break
        marker = header[at + 1]
        if header[at] != 0xFF:  # noqa: PLR2004 - the first byte of every marker
            at += 1
        elif marker in _ALONE:
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004 - a fill byte
        elif marker == _START_OF_SCAN or marker < _LEAST_MARKER:
            return
        else:
            at += 2 + int.from_bytes(header[at + 2 : at + 4], "big")
    if at + 4 <= len(header) or len(header) == LONGEST_HEADER:
        raise RejectedImage("too_many_parts")


def _walk_png(file: BinaryIO) -> None:
    """Walk all chunks (PNG, third edition, 5.3): a library reads those after the picture too."""
    at, parts, pieces = len(_PNG_START), 0, 0
    while len(start := file.read(8)) == 8:  # noqa: PLR2004 - a chunk's length and kind
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IEND":
            return
        at += 12 + length
        if kind == b"IDAT":
            pieces += 1
        else:
            parts += 1
        if parts > MOST_PARTS or pieces > MOST_PIECES or (not pieces and at > LONGEST_HEADER):
            raise RejectedImage("too_many_parts")
        file.seek(at)
