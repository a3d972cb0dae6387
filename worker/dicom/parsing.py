"""Parses DICOM objects with pydicom, under limits: hostile objects end in RejectedImage, and soon.

pydicom's `dcmread` inflates a deflated object without a limit, passes over the cut end of a file, and reads any text with
`force=True`. So the parts that it is made of are called here one by one.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
import zlib
from typing import BinaryIO, cast

from pydicom import config
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from worker.dicom.bounded_file import BoundedFile, TooManyReads
from worker.dicom.encoding import (
    PREAMBLE_BYTES,
    PREFIX,
    TRANSFER_SYNTAXES,
    Encoding,
    guess_encoding,
    syntax_of,
)
from worker.dicom.pixel_element import PIXEL_TAGS, attach, check_whole, find_pixels, stated_bytes
from worker.dicom.tags import named
from worker.dicom.wanted import KEYWORDS
from worker.errors import RejectedImage, raise_fault

# What pydicom raises for damaged and hostile objects. An OSError can also be a fault of this machine: see `raise_fault`.
DAMAGED = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
# The limit of bytes before the pixels, unpacked. A header with several look-up tables has less than one megabyte.
LONGEST_HEADER = 4 * 1024**2
# More than the pixels of any detector.
_MOST_UNPACKED = 512 * 1024**2
# The longest wanted value: a VOI LUT sequence of several tables with 65,536 entries.
_LONGEST_VALUE = 1024**2
_MOST_LEVELS, _MOST_ITEMS = 8, 500
_META_GROUP = 0x0002
_TRANSFER_SYNTAX = 0x00020010
_UNDEFINED = 0xFFFFFFFF
_START_BYTES = 4096
_UID = re.compile(r"[0-9.]{1,64}")
_WANTED = [cast("BaseTag | int", tag_for_keyword(keyword)) for keyword in KEYWORDS]

# Its warnings and log lines repeat values of the object, which may hold a patient's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
# Values are not validated one by one: what matters is checked where it is used.
config.settings.reading_validation_mode = config.IGNORE


def parse(file: BinaryIO, size: int, *, with_pixels: bool) -> Dataset:
    """Parse the object in a file of `size` bytes: `worker.dicom.reading` says what is returned and raised."""
    bounded = BoundedFile(file, size)
    prefixed = bounded.peek(PREAMBLE_BYTES + len(PREFIX))[PREAMBLE_BYTES:] == PREFIX
    if prefixed:
        bounded.seek(PREAMBLE_BYTES + len(PREFIX))
    meta = _read(bounded, Encoding(), meta=True)
    encoding = _encoding(bounded, meta)
    if encoding.deflated:
        packed = bounded.read()
        dataset = _parse_deflated(packed, encoding, meta, with_pixels=with_pixels)
    else:
        dataset = _parse(bounded, encoding, meta, with_pixels=with_pixels)
    if not prefixed and not _UID.fullmatch(str(dataset.get("SOPClassUID", ""))):
        raise RejectedImage("not_an_image")
    return dataset


def _parse(
    file: BoundedFile, encoding: Encoding, meta: Dataset, *, with_pixels: bool, whole: bool = True
) -> Dataset:
    """Parse the data set. `whole` is False if the file is only the start of an unpacked object."""
    dataset = _read(file, encoding)
    dataset.file_meta = FileMetaDataset(meta)
    syntax = UID(str(meta.get("TransferSyntaxUID") or syntax_of(encoding)))
    # As a new element: the file may have called its own a number.
    dataset.file_meta[_TRANSFER_SYNTAX] = DataElement(_TRANSFER_SYNTAX, "UI", syntax)
    pixels = find_pixels(file, dataset)
    if pixels is None:
        if not whole:
            raise RejectedImage("too_many_parts")
        if file.ended_early:
            raise RejectedImage("truncated")
        return dataset
    value = b""
    if whole:
        end = check_whole(file, pixels, dataset)
        if with_pixels:
            file.seek(pixels.start)
            value = file.read(end - pixels.start)
    attach(dataset, pixels, value)
    return dataset


def _parse_deflated(packed: bytes, encoding: Encoding, meta: Dataset, *, with_pixels: bool) -> Dataset:
    """Parse a data set of which only as much is unpacked as its header asks for (PS3.5, A.5)."""
    data, whole = _inflated(packed, LONGEST_HEADER)
    header = _parse(_file_of(data), encoding, meta, with_pixels=with_pixels and whole, whole=whole)
    if whole or not with_pixels:
        return header
    data, whole = _inflated(packed, min(LONGEST_HEADER + stated_bytes(header), _MOST_UNPACKED))
    if not whole:
        raise RejectedImage("too_many_parts")
    return _parse(_file_of(data), encoding, meta, with_pixels=True)


def _file_of(data: bytes) -> BoundedFile:
    return BoundedFile(io.BytesIO(data), len(data))


def _inflated(packed: bytes, most: int) -> tuple[bytes, bool]:
    """Return at most `most` bytes of a deflated data set, and whether these are all."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(packed, most)
    except zlib.error:
        raise RejectedImage("dicom_damaged") from None
    if not unpacker.eof and len(data) < most:
        raise RejectedImage("truncated")
    return data, unpacker.eof


def _read(file: BoundedFile, encoding: Encoding, *, meta: bool = False) -> Dataset:
    """Read the file meta information (PS3.10, 7.1), or the wanted elements before the pixels, and convert them."""
    try:
        dataset = read_dataset(
            cast("BinaryIO", file),
            encoding.implicit,
            encoding.little_endian,
            stop_when=_after_meta if meta else _at_pixels,
            specific_tags=None if meta else _WANTED,
        )
        _convert(dataset, [_MOST_ITEMS], _MOST_LEVELS)
    except RejectedImage:
        if file.ended_early:
            raise RejectedImage("truncated") from None
        raise
    except (*DAMAGED, TooManyReads) as error:
        raise_fault(error)
        if file.exhausted or isinstance(error, RecursionError | TooManyReads):
            raise RejectedImage("too_many_parts") from None
        raise RejectedImage("truncated" if file.ended_early else "dicom_damaged") from None
    return dataset


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != _META_GROUP


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _encoding(file: BoundedFile, meta: Dataset) -> Encoding:
    """Return the encoding of the transfer syntax; without one, of what the first elements look like."""
    syntax = str(meta.get("TransferSyntaxUID") or "")
    if syntax in TRANSFER_SYNTAXES:
        return TRANSFER_SYNTAXES[syntax][0]
    if syntax:
        # Another text may be anything, even a name in the wrong place; it is not repeated.
        name = syntax if _UID.fullmatch(syntax) else "it names"
        raise RejectedImage("dicom_transfer_syntax", syntax=name)
    encoding = guess_encoding(file.peek(_START_BYTES))
    if encoding is None:
        raise RejectedImage("dicom_damaged")
    return encoding


def _convert(dataset: Dataset, items_left: list[int], levels: int) -> None:
    """Convert all values, so that nothing is left that can go wrong later. Raises TooManyReads."""
    if levels == 0:
        raise TooManyReads
    for raw in dataset.elements():
        if isinstance(raw, RawDataElement) and raw.length != _UNDEFINED and raw.length > _LONGEST_VALUE:
            raise TooManyReads
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            items = list(element.value or ()) if element.VR == "SQ" else []
        except RecursionError:
            raise
        except DAMAGED:
            raise RejectedImage("dicom_tag_unreadable", tag=named(keyword_for_tag(tag))) from None
        items_left[0] -= len(items)
        if items_left[0] < 0:
            raise TooManyReads
        for item in items:
            _convert(item, items_left, levels - 1)
