"""Reads values of a DICOM header that anybody may have written: whatever is not what it should be is not there.

Texts are decoded here and not by pydicom, whose warnings about texts that break a rule repeat them: they could name a
patient, and warnings end in logs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

_CHARACTER_SET = 0x00080005
# No value that is read here is longer, so nobody can make us decode megabytes.
_LONGEST = 1024
_INTEGER = re.compile(r"[+-]?[0-9]{1,11}")
# What pydicom raises for values that it cannot convert.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def texts(dataset: Dataset, tag: int) -> list[str]:
    """Return the values of a text attribute without padding, in the order of the file; empty if there is none."""
    return [part.strip(" \0\t\r\n") for part in whole_text(dataset, tag).split("\\")]


def text(dataset: Dataset, tag: int) -> str:
    """Return the first value of a text attribute without padding; empty if there is none."""
    return texts(dataset, tag)[0]


def whole_text(dataset: Dataset, tag: int) -> str:
    """Return all values of a text attribute with the backslashes between them; empty if there is none."""
    with suppress(*_UNREADABLE):
        element = dataset.get_item(tag)
        value = None if element is None or element.VR == "SQ" else element.value
        if isinstance(value, bytes):
            return _decoded(dataset, value[:_LONGEST])
        if isinstance(value, str):
            return value[:_LONGEST]
        if value is not None:
            return _joined(value)
    return ""


def integer(dataset: Dataset, tag: int) -> int | None:
    """Return the value of an attribute that holds one whole number; None if it does not."""
    with suppress(*_UNREADABLE):
        value = dataset[tag].value
        return value if isinstance(value, int) else None
    return None


def integer_text(dataset: Dataset, tag: int) -> int | None:
    """Return the value of an attribute that holds a whole number as text (PS3.5, 6.2, IS); None if it does not."""
    value = text(dataset, tag)
    return int(value) if _INTEGER.fullmatch(value) else None


def first_item(dataset: Dataset, tag: int) -> Dataset | None:
    """Return the first item of a sequence; None if there is none."""
    from pydicom import Dataset

    with suppress(*_UNREADABLE):
        item = dataset[tag].value[0]
        return item if isinstance(item, Dataset) else None
    return None


def _decoded(dataset: Dataset, value: bytes) -> str:
    """Decode with the first character set of the object. Escape sequences (ISO 2022) stay as they are: no term has one."""
    from pydicom.charset import python_encoding

    if value.isascii():
        return value.decode("ascii")
    stated = dataset.get_item(_CHARACTER_SET)
    term = stated.value if stated is not None else b""
    name = term.decode("latin-1") if isinstance(term, bytes) else str(term)
    codec = python_encoding.get(name.split("\\")[0].strip(" \0"), "latin-1")
    return value.decode(codec, errors="backslashreplace")


def _joined(value: object) -> str:
    if isinstance(value, Iterable):
        return "\\".join(map(str, value))[:_LONGEST]
    return str(value)[:_LONGEST]
