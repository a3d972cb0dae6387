"""Reads look-up tables, windows and rescale values from the header (PS3.3, C.11.1 and C.11.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worker.dicom.facts import Function
from worker.dicom.tags import named
from worker.errors import RejectedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Levels = NDArray[np.float64]

_ENTRIES = 1 << 16
_SIGN = 1 << 15
_BYTE_BITS = 8
_DESCRIPTORS = 3
# Far beyond any unit of a modality, and exact in 64 bits.
_LARGEST = 2.0**31


@dataclass(frozen=True)
class Table:
    """A look-up table: `entries` are the outputs for the inputs from `first` on."""

    first: int
    entries: Levels

    def applied(self, levels: Levels) -> Levels:
        """Return the outputs; inputs before and after the table get its first and last entry (C.11.2.1.1)."""
        places = np.clip(np.rint(levels) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        outputs: Levels = self.entries[places]
        return outputs


@dataclass(frozen=True)
class Window:
    """A window with its function; `known` is False if the object states another function, and it is as LINEAR."""

    center: float
    width: float
    function: Function
    known: bool

    @property
    def usable(self) -> bool:
        """Whether the standard allows this width (C.11.2.1.2)."""
        return self.width >= 1 if self.function is Function.LINEAR else self.width > 0

    @property
    def ends(self) -> tuple[float, float]:
        """The values from which on all is black or white; for a sigmoid those of the line through its middle."""
        half = 0.5 if self.function is Function.LINEAR else 0.0
        center, reach = self.center - half, self.width / 2 - half
        return center - reach, center + reach

    def applied(self, levels: Levels) -> Levels:
        """Return the outputs of a usable window in 0..1."""
        if self.function is Function.SIGMOID:
            exponent = np.clip(-4 * (levels - self.center) / self.width, -700, 700)
            return 1 / (1 + np.exp(exponent))
        low, high = self.ends
        if low == high:
            return (levels > low).astype(np.float64)
        return np.clip((levels - low) / (high - low), 0, 1)


def table_of(item: Dataset, *, signed: bool, little_endian: bool) -> Table | None:
    """Return the table of an item of a LUT sequence; None: it is not usable.

    Args:
        item: with LUTDescriptor and LUTData.
        signed: whether the inputs can be negative: then the first input is signed, whatever its representation.
        little_endian: the byte order of the object.
    """
    try:
        count, first, bits = (int(number) for number in item.LUTDescriptor)
    except (AttributeError, TypeError, ValueError):
        return None
    count = count or _ENTRIES
    first = first - _ENTRIES if signed and first >= _SIGN else first
    entries = _entries(item.get("LUTData"), count, bits, little_endian=little_endian)
    return None if entries is None else Table(first, entries)


def _entries(value: object, count: int, bits: int, *, little_endian: bool) -> Levels | None:
    """Return the entries, of which the bits that the descriptor declares may be too few or too many."""
    if isinstance(value, bytes):
        packed = len(value) in (count, count + 1) and bits <= _BYTE_BITS
        kind = "u1" if packed else "<u2" if little_endian else ">u2"
        value = np.frombuffer(value[: len(value) // 2 * 2], dtype=kind)
    elif isinstance(value, int):
        value = [value]
    if not isinstance(value, Sequence | np.ndarray) or not 1 < count <= len(value):
        return None
    return np.asarray(value[:count], dtype=np.float64)


def first_item(dataset: Dataset, keyword: str) -> tuple[Dataset | None, int]:
    """Return the first item of a sequence, and how many it has."""
    items = dataset.get(keyword) or []
    return (items[0], len(items)) if len(items) else (None, 0)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers of an element; none if it is absent or empty.

    Raises:
        RejectedImage: `dicom_tag_wrong`.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        found = [float(number) for number in values if number not in (None, "")]
    except (TypeError, ValueError):
        raise RejectedImage("dicom_tag_unreadable", tag=named(keyword)) from None
    if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in found):
        raise RejectedImage("dicom_tag_unreadable", tag=named(keyword))
    return found


def first_window(dataset: Dataset) -> tuple[Window | None, int]:
    """Return the first window, and how many the object has; None: it has none, or half of one."""
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    stated = str(dataset.get("VOILUTFunction") or Function.LINEAR)
    known = stated in set(Function)
    count = max(len(centers), len(widths))
    if not centers or not widths:
        return None, count
    return Window(centers[0], widths[0], Function(stated) if known else Function.LINEAR, known), count
