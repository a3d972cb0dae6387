"""The element with the pixels: finds it in the file, checks that it is whole, and reads it (PS3.5, 8 and A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataelem import DataElement

from worker.dicom.bounded_file import BoundedFile
from worker.dicom.encoding import LONG_VRS, TRANSFER_SYNTAXES, Coding
from worker.dicom.form import ALLOCATED, wrong_bytes
from worker.errors import RejectedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXEL_DATA = 0x7FE00010
# FloatPixelData and DoubleFloatPixelData, which no radiograph has, stand in its place.
PIXEL_TAGS = frozenset({PIXEL_DATA, 0x7FE00009, 0x7FE00008})
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_HEAD_BYTES, _LONG_LENGTH_BYTES = 8, 4
# One picture is one fragment, or a few for each stripe of it.
_MOST_FRAGMENTS = 10_000


@dataclass(frozen=True)
class PixelElement:
    """Where the value begins, its bytes and representation. `length` is None for fragments of unknown length."""

    start: int
    length: int | None
    vr: str


def find_pixels(file: BoundedFile, dataset: Dataset) -> PixelElement | None:
    """Return the element at which the parser stopped; None: it stopped at the end of the file.

    Raises:
        RejectedImage: `truncated` or `dicom_damaged`: it stopped elsewhere, or the pixels are fractions.
    """
    at = file.tell()
    head = file.peek(_HEAD_BYTES + _LONG_LENGTH_BYTES)
    implicit, little_endian = dataset.original_encoding
    order = "<" if little_endian else ">"
    if len(head) < _HEAD_BYTES:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    if group << 16 | element != PIXEL_DATA:
        raise RejectedImage("truncated" if file.ended_early else "dicom_damaged")
    if implicit:
        return _element(at + _HEAD_BYTES, struct.unpack(f"{order}L", head[4:8])[0], "OW")
    vr = head[4:6]
    if vr not in LONG_VRS:
        raise RejectedImage("dicom_damaged")
    (length,) = struct.unpack(f"{order}L", head[_HEAD_BYTES:])
    return _element(at + len(head), length, "OB" if vr == b"OB" else "OW")


def check_whole(file: BoundedFile, pixels: PixelElement, dataset: Dataset) -> int:
    """Check that a file has all bytes of its pixels, and return the end of the value.

    Raises:
        RejectedImage: `truncated`; `dicom_damaged` if the transfer syntax and the element contradict each other;
            `dicom_pixel_bytes` if the element is shorter than the picture.
    """
    native = coding_of(dataset) is Coding.NATIVE
    if native == (pixels.length is None):
        raise RejectedImage("dicom_damaged")
    if pixels.length is None:
        return _end_of_fragments(file, pixels.start)
    end = pixels.start + pixels.length
    if end > file.size:
        raise RejectedImage("truncated")
    if pixels.length < stated_bytes(dataset):
        raise wrong_bytes(pixels.length, int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated))
    return end


def attach(dataset: Dataset, pixels: PixelElement, value: bytes) -> None:
    """Add the element to the data set as pydicom does."""
    element = DataElement(PIXEL_DATA, pixels.vr, value)
    element.is_undefined_length = pixels.length is None
    dataset[PIXEL_DATA] = element


def coding_of(dataset: Dataset) -> Coding:
    """Return how the pixels are compressed."""
    return TRANSFER_SYNTAXES[str(dataset.file_meta.TransferSyntaxUID)][1]


def stated_bytes(dataset: Dataset) -> int:
    """Return the bytes of one frame of uncompressed pixels by the header; 0 if it states none that Nightread reads."""
    rows, columns, bits = (dataset.get(name) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (isinstance(rows, int) and isinstance(columns, int)) or bits not in ALLOCATED:
        return 0
    return rows * columns * (int(bits) // 8)


def _element(start: int, length: int, vr: str) -> PixelElement:
    return PixelElement(start, None if length == _UNDEFINED else length, vr)


def _end_of_fragments(file: BoundedFile, start: int) -> int:
    """Return where the delimiter of the fragments stands; compressed pixels are always little endian."""
    at = start
    for _ in range(_MOST_FRAGMENTS):
        file.seek(at)
        head = file.peek(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            raise RejectedImage("truncated")
        group, element, length = struct.unpack("<HHL", head)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM or length == _UNDEFINED:
            raise RejectedImage("dicom_damaged")
        at += _HEAD_BYTES + length
    raise RejectedImage("too_many_parts")
