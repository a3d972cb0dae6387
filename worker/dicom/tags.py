"""Names the elements of a DICOM object in sentences, and reads those that must be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import RejectedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def named(keyword: str) -> str:
    """Return an element's name and tag as a sentence names it: `HighBit (0028,0102)`."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def required(dataset: Dataset, keyword: str) -> object:
    """Return the value of an element. Raises RejectedImage (`dicom_tag_missing`) if it is absent or empty."""
    value: object = dataset.get(keyword)
    if value is None or value == "":
        raise RejectedImage("dicom_tag_missing", tag=named(keyword))
    return value


def required_number(dataset: Dataset, keyword: str, lowest: int, highest: int) -> int:
    """Return the value of an element that must be one whole number in a range.

    Raises:
        RejectedImage: `dicom_tag_missing` or `dicom_tag_wrong`.
    """
    value = required(dataset, keyword)
    if not isinstance(value, int) or not lowest <= value <= highest:
        # A text may be anything, even a name in the wrong place; it is not repeated.
        stated = str(int(value)) if isinstance(value, int) else "a value that is no number"
        raise RejectedImage("dicom_tag_wrong", tag=named(keyword), value=stated)
    return int(value)
