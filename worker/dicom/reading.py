"""Recognises and reads DICOM objects (PS3.10) that strangers sent.

pydicom is imported with the first object, so that programs that meet none start without it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from worker.dicom.encoding import PREAMBLE_BYTES, PREFIX, guess_encoding, starts_with_meta
from worker.errors import RejectedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# So many bytes of a file are enough for `is_dicom`.
START_BYTES = PREAMBLE_BYTES + len(PREFIX)


def is_dicom(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is a DICOM object, with a preamble or without.

    `start` is the file, or at least its first `START_BYTES` bytes. A file without a preamble has to begin with
    elements that only a DICOM object begins with: `force=True` of pydicom would also read a letter.
    """
    if start[PREAMBLE_BYTES:START_BYTES] == PREFIX:
        return True
    return starts_with_meta(start) or guess_encoding(start) is not None


def read_header(file: BinaryIO, size: int) -> Dataset:
    """Read all of an object but its pixels, from the start of a file of `size` bytes.

    Args:
        file: the file; its position is undefined afterwards.
        size: its length in bytes.

    Returns:
        The elements that Nightread uses (`worker.dicom.wanted`), all of them converted, and the file meta
        information. An object with pixels has an empty PixelData (7FE0,0010).

    Raises:
        RejectedImage: `not_an_image`, `dicom_damaged`, `dicom_tag_wrong`, `dicom_transfer_syntax`, `truncated`,
            `too_many_parts` or `dicom_not_installed`.
        OSError: the file cannot be read.
    """
    return _read(file, size, with_pixels=False)


def read_object(data: bytes) -> Dataset:
    """Read an object with its pixels: the value of PixelData as pydicom has it. Arguments and errors: `read_header`."""
    return _read(io.BytesIO(data), len(data), with_pixels=True)


def _read(file: BinaryIO, size: int, *, with_pixels: bool) -> Dataset:
    try:
        from worker.dicom.parsing import parse
    except ModuleNotFoundError as missing:
        raise RejectedImage("dicom_not_installed") from missing
    return parse(file, size, with_pixels=with_pixels)
