"""Tells whether a file looks broken off, from its first and last bytes, or from the lengths in a DICOM header.

A sender may pause for longer than the settle time, and not every system says who has a file open. A file that
looks broken off rests longer before it is accepted. A wrong answer costs only time.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from worker.dicom.reading import START_BYTES, is_dicom, read_header
from worker.errors import RejectedImage
from worker.imagefile.parts import PNG_START

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# The type of the last chunk of a PNG file (PNG, third edition, 11.2.5).
_PNG_END = b"IEND"
# Some programs append padding or a few bytes of their own.
_TAIL_BYTES = 1024
# Of a DICOM object that ends within its first elements, no length is known yet.
_BROKEN_OFF = {"truncated", "dicom_damaged"}


def is_jpeg_or_png(file: BinaryIO) -> bool:
    """Return whether a file is of a format that cannot say whose image it is."""
    file.seek(0)
    return file.read(len(PNG_START)).startswith((_JPEG_START, PNG_START))


def looks_broken_off(file: BinaryIO, size: int) -> bool:
    """Return whether a file of `size` bytes is empty, begins with zeros or lacks the end of its format."""
    file.seek(0)
    start = file.read(START_BYTES)
    if is_dicom(start):
        return _ends_early(file, size)
    start = start[: len(PNG_START)]
    file.seek(max(0, size - _TAIL_BYTES), os.SEEK_SET)
    tail = file.read(_TAIL_BYTES)
    # A program that reserves the space first fills it with zeros.
    if not start.strip(b"\0"):
        return True
    if start.startswith(_JPEG_START):
        return _JPEG_END not in tail
    return start == PNG_START and _PNG_END not in tail


def _ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    try:
        read_header(file, size)
    except RejectedImage as rejected:
        return rejected.code in _BROKEN_OFF
    return False
