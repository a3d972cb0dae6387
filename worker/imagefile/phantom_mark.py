"""Writes and checks the mark of a phantom in the header of its file.

The mark is a comment with a keyed hash (HMAC-SHA-256, RFC 2104) over the rest of the file: all bytes before the mark and
all bytes after it. Only who has the key can make one, and it counts for these bytes only. It covers the compressed picture
and not its pixels, because the intake decodes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import zlib
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from worker.imagefile.parts import (
    CHECKSUM_BYTES,
    CHUNK_HEAD_BYTES,
    COMMENT,
    JPEG_START,
    PNG_START,
    SEGMENT_HEAD_BYTES,
    START_OF_SCAN,
    comment_segment,
    jpeg_segments,
    png_chunks,
)

PHANTOM_MARK = b"nightread phantom "
# The mark is looked for in so many bytes. `add_mark` writes it into the first kilobyte.
HEADER_BYTES = 64 * 1024

_PNG_KEYWORD = b"Comment\0"
_CODE_LENGTH = 2 * hashlib.sha256().digest_size
# JFIF files begin with this segment (ITU-T T.871, 10.1).
_APP0 = 0xE0
_READ_BYTES = 1024**2


@dataclass(frozen=True)
class Mark:
    """A mark that a file carries, genuine or not: where its segment or chunk begins and ends, and its keyed hash."""

    start: int
    end: int
    code: bytes


def add_mark(data: bytes, key: bytes) -> bytes:
    """Return a JPEG or PNG file, which must be well-formed, with the mark of this key added."""
    at = _place(data)
    mark = PHANTOM_MARK + hmac.digest(key, data, hashlib.sha256).hex().encode()
    part = _text_chunk(mark) if data.startswith(PNG_START) else comment_segment(mark)
    return data[:at] + part + data[at:]


def find_mark(header: bytes) -> Mark | None:
    """Return the first mark before the picture, which anybody may have written; None if there is none.

    `header` is a whole file, or its first `HEADER_BYTES`.
    """
    if header.startswith(JPEG_START):
        return _find_in_jpeg(header)
    return _find_in_png(header) if header.startswith(PNG_START) else None


def is_genuine(file: BinaryIO, mark: Mark, key: bytes) -> bool:
    """Return whether the mark of a file was made with this key. The position of the file is undefined afterwards."""
    made = hmac.new(key, digestmod=hashlib.sha256)
    file.seek(0)
    made.update(file.read(mark.start))
    file.seek(mark.end)
    for piece in iter(partial(file.read, _READ_BYTES), b""):
        made.update(piece)
    return hmac.compare_digest(made.hexdigest().encode(), mark.code)


def _place(data: bytes) -> int:
    """Return where the mark is written: behind IHDR or, in a JPEG file, at the start or behind the segment APP0."""
    if data.startswith(PNG_START):
        _, _, end = next(png_chunks(io.BytesIO(data)))
        return end
    marker, start, end = next(jpeg_segments(data))
    return end if marker == _APP0 else start


def _text_chunk(mark: bytes) -> bytes:
    """Return a PNG chunk that holds a text (PNG, third edition, 11.3.3.2)."""
    content = b"tEXt" + _PNG_KEYWORD + mark
    length = len(content) - len(b"tEXt")
    return length.to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")


def _find_in_jpeg(header: bytes) -> Mark | None:
    for marker, start, end in jpeg_segments(header):
        if marker == START_OF_SCAN:
            return None
        if marker == COMMENT and end <= len(header):
            found = _mark(start, end, header[start + SEGMENT_HEAD_BYTES : end])
            if found:
                return found
    return None


def _find_in_png(header: bytes) -> Mark | None:
    for kind, start, end in png_chunks(io.BytesIO(header)):
        if kind == b"IDAT":
            return None
        content = header[start + CHUNK_HEAD_BYTES : end - CHECKSUM_BYTES]
        if kind == b"tEXt" and end <= len(header) and content.startswith(_PNG_KEYWORD):
            found = _mark(start, end, content.removeprefix(_PNG_KEYWORD))
            if found:
                return found
    return None


def _mark(start: int, end: int, text: bytes) -> Mark | None:
    code = text.removeprefix(PHANTOM_MARK)
    marked = text.startswith(PHANTOM_MARK) and len(code) == _CODE_LENGTH and code.isascii()
    return Mark(start, end, code) if marked else None
