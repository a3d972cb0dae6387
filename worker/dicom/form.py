"""The form of the pixels by the header: their number, bits and sign (PS3.3, C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.dicom.tags import named, required, required_number
from worker.errors import RejectedImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LONGEST_SIDE = 0xFFFF
# BitsAllocated of a radiograph.
ALLOCATED = (8, 16)
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Form:
    """The form of a grey picture of one frame.

    Attributes:
        rows: height in pixels.
        columns: width in pixels.
        allocated: bits of each pixel in uncompressed data, 8 or 16.
        stored: the lower bits of these that hold the value.
        signed: whether the value is a two's complement.
        dark_is_high: whether the highest value is meant to be black (MONOCHROME1).
    """

    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool
    dark_is_high: bool

    @property
    def bytes(self) -> int:
        """The bytes of the picture in uncompressed data."""
        return self.rows * self.columns * (self.allocated // 8)

    @property
    def lowest(self) -> int:
        """The lowest value that the stored bits can hold."""
        return -(1 << self.stored - 1) if self.signed else 0


def form_of(dataset: Dataset) -> Form:
    """Return the form of an object's pixels.

    Raises:
        RejectedImage: `dicom_tag_missing`, `dicom_tag_wrong` or `dicom_high_bit`; the sentence names the element.
    """
    required_number(dataset, "SamplesPerPixel", 1, 1)
    if dataset.get("NumberOfFrames") not in (None, ""):
        required_number(dataset, "NumberOfFrames", 1, 1)
    photometric = str(required(dataset, "PhotometricInterpretation"))
    if photometric not in _GREY:
        raise RejectedImage(
            "dicom_tag_wrong",
            tag=named("PhotometricInterpretation"),
            value="another value than MONOCHROME1 or 2",
        )
    rows = required_number(dataset, "Rows", 1, _LONGEST_SIDE)
    columns = required_number(dataset, "Columns", 1, _LONGEST_SIDE)
    allocated = required_number(dataset, "BitsAllocated", *ALLOCATED)
    if allocated not in ALLOCATED:
        raise RejectedImage("dicom_tag_wrong", tag=named("BitsAllocated"), value=allocated)
    stored = required_number(dataset, "BitsStored", 1, allocated)
    high_bit = required_number(dataset, "HighBit", 0, _LONGEST_SIDE)
    if high_bit != stored - 1:
        # pydicom would read such pixels without a word, and wrongly.
        raise RejectedImage("dicom_high_bit", high_bit=high_bit, bits_stored=stored, needed=stored - 1)
    signed = required_number(dataset, "PixelRepresentation", 0, 1) == 1
    return Form(rows, columns, allocated, stored, signed, dark_is_high=photometric == _GREY[0])


def check_bytes(count: int, form: Form) -> None:
    """Check that so many bytes of uncompressed pixels can be a picture of this form. A few more are padding.

    With a row or a column of bytes too many, Rows, Columns or BitsAllocated is probably wrong. The picture would be
    skewed, and nothing else would show it.

    Raises:
        RejectedImage: `dicom_pixel_bytes`.
    """
    excess = count - form.bytes
    if not 0 <= excess < min(form.rows, form.columns) * (form.allocated // 8):
        raise wrong_bytes(count, form.rows, form.columns, form.allocated)


def wrong_bytes(count: int, rows: int, columns: int, allocated: int) -> RejectedImage:
    """Return the rejection of so many bytes of uncompressed pixels, where the header states another number."""
    return RejectedImage(
        "dicom_pixel_bytes",
        bytes=count,
        stated=rows * columns * (allocated // 8),
        columns=columns,
        rows=rows,
        allocated=allocated,
    )
