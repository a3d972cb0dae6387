"""How the elements of a DICOM object are encoded (PS3.5, 7.1 and A.1 to A.4): transfer syntaxes, and guesses without one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

PREAMBLE_BYTES = 128
PREFIX = b"DICM"


class Coding(StrEnum):
    """How the pixels are compressed."""

    NATIVE = "native"
    RLE = "rle"
    JPEG = "jpeg"
    JPEG_LOSSLESS = "jpeg_lossless"
    JPEG_LS = "jpeg_ls"
    JPEG_2000 = "jpeg_2000"


@dataclass(frozen=True)
class Encoding:
    """The encoding of a data set. `deflated`: all of it is compressed (PS3.5, A.5)."""

    implicit: bool = False
    little_endian: bool = True
    deflated: bool = False


EXPLICIT, IMPLICIT = Encoding(), Encoding(implicit=True)
BIG_ENDIAN = Encoding(little_endian=False)

_ROOT = "1.2.840.10008.1.2"
# PS3.6, table A-1. All that CR and DX objects use; video and colour-only syntaxes are not among them.
TRANSFER_SYNTAXES: dict[str, tuple[Encoding, Coding]] = {
    _ROOT: (IMPLICIT, Coding.NATIVE),
    f"{_ROOT}.1": (EXPLICIT, Coding.NATIVE),
    f"{_ROOT}.1.99": (Encoding(deflated=True), Coding.NATIVE),
    f"{_ROOT}.2": (BIG_ENDIAN, Coding.NATIVE),
    f"{_ROOT}.4.50": (EXPLICIT, Coding.JPEG),
    f"{_ROOT}.4.51": (EXPLICIT, Coding.JPEG),
    f"{_ROOT}.4.57": (EXPLICIT, Coding.JPEG_LOSSLESS),
    f"{_ROOT}.4.70": (EXPLICIT, Coding.JPEG_LOSSLESS),
    f"{_ROOT}.4.80": (EXPLICIT, Coding.JPEG_LS),
    f"{_ROOT}.4.81": (EXPLICIT, Coding.JPEG_LS),
    f"{_ROOT}.4.90": (EXPLICIT, Coding.JPEG_2000),
    f"{_ROOT}.4.91": (EXPLICIT, Coding.JPEG_2000),
    f"{_ROOT}.4.201": (EXPLICIT, Coding.JPEG_2000),
    f"{_ROOT}.4.202": (EXPLICIT, Coding.JPEG_2000),
    f"{_ROOT}.4.203": (EXPLICIT, Coding.JPEG_2000),
    f"{_ROOT}.5": (EXPLICIT, Coding.RLE),
}

# PS3.5, table 7.1-1: these have two reserved bytes and a length of four.
LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_META_GROUP, _FIRST_GROUP = 0x0002, 0x0008
# What a data set without file meta information begins with: some of the first elements of group 8 (SOP common and
# general study module), none of which is long.
_LAST_FIRST_ELEMENT, _LONGEST_FIRST_VALUE = 0x0018, 1024
_HEAD_BYTES = 8


def syntax_of(encoding: Encoding) -> str:
    """Return the transfer syntax of uncompressed pixels in this encoding."""
    return next(uid for uid, (known, _) in TRANSFER_SYNTAXES.items() if known == encoding)


def starts_with_meta(start: bytes) -> bool:
    """Return whether a file without a preamble begins with file meta information (PS3.10, 7.1)."""
    group, vr = int.from_bytes(start[:2], "little"), start[4:6]
    return group == _META_GROUP and (vr in _SHORT_VRS or vr in LONG_VRS)


def guess_encoding(start: bytes) -> Encoding | None:
    """Return the encoding of a data set without a transfer syntax, from its first bytes; None: this is no data set."""
    return next((encoding for encoding in (EXPLICIT, BIG_ENDIAN, IMPLICIT) if _fits(start, encoding)), None)


def _fits(start: bytes, encoding: Encoding) -> bool:
    """Return whether the first two elements have plausible tags, representations and lengths."""
    order: Literal["little", "big"] = "little" if encoding.little_endian else "big"
    at, last = 0, -1
    for _ in range(2):
        head = start[at : at + _HEAD_BYTES]
        group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
        if len(head) < _HEAD_BYTES or group != _FIRST_GROUP or not last < element:
            return False
        if not encoding.implicit and head[4:6] not in _SHORT_VRS:
            return False
        length = int.from_bytes(head[4 if encoding.implicit else 6 :], order)
        if last < 0 and (element > _LAST_FIRST_ELEMENT or length > _LONGEST_FIRST_VALUE):
            return False
        at, last = at + _HEAD_BYTES + length, element
    return True
