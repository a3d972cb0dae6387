"""A file for pydicom's parser, which has no limits of its own: reads and bytes are counted, and the end is watched."""

from __future__ import annotations

import os
from typing import BinaryIO

# An element takes two to four reads, some 5 microseconds each. A radiograph has some hundred elements; with the private
# sequences of its maker and the history of an archive some thousand.
MOST_READS = 20_000
# pydicom may go back and read a part again.
_MOST_TIMES = 3
# pydicom asks for the eight bytes of an element that need not be there.
_ELEMENT_HEAD_BYTES = 8


class TooManyReads(Exception):  # noqa: N818 - an outcome: the object has more parts than any radiograph
    """The parser has read more than any radiograph needs."""


class BoundedFile:
    """The methods of a binary file that pydicom uses.

    Attributes:
        size: bytes of the file.
        exhausted: the limit of reads or bytes was reached. pydicom hides some exceptions, so callers look here.
        ended_early: the parser asked for bytes that a cut file lacks.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        """Read a file of `size` bytes, from where it stands."""
        self._file, self.size = file, size
        self._reads, self._bytes = 0, 0
        self.exhausted = self.ended_early = False

    def read(self, count: int = -1) -> bytes:
        """Read like a binary file. Raises TooManyReads."""
        data = self._file.read(count)
        self._reads += 1
        self._bytes += len(data)
        if self._reads > MOST_READS or self._bytes > _MOST_TIMES * self.size:
            self.exhausted = True
            raise TooManyReads
        if len(data) < count and not (count == _ELEMENT_HEAD_BYTES and not data):
            self.ended_early = True
        return data

    def peek(self, count: int) -> bytes:
        """Return at most the next `count` bytes, and stay where the file is."""
        at = self._file.tell()
        data = self._file.read(count)
        self._file.seek(at)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek like a binary file."""
        position = self._file.seek(offset, whence)
        self.ended_early = self.ended_early or position > self.size
        return position

    def tell(self) -> int:
        """Return the position like a binary file."""
        return self._file.tell()
