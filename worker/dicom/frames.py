"""Decodes the one frame of a DICOM object to its stored values, each transfer syntax with one decoder and no other.

No decoder is trusted: only bounded processes call this. Native and RLE pixels are decoded by pydicom, JPEG by
imagecodecs (libjpeg-turbo), JPEG-LS by pyjpegls (CharLS), JPEG 2000 and HTJ2K by pylibjpeg-openjpeg.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from worker.dicom.codestream import checked, with_more_data
from worker.dicom.encoding import Coding
from worker.dicom.form import Form, check_bytes
from worker.dicom.parsing import DAMAGED
from worker.dicom.pixel_element import coding_of
from worker.errors import RejectedImage, raise_fault

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# An RLE segment is hardly ever longer than the bytes that it encodes (PS3.5, G.3.1: one more byte for each 128). Beside
# it stand the frame's header, item headers and an offset table.
_LONGEST_RLE, _SPARE_BYTES = 3, 1024
# Two bytes encode a run of at most 128.
_MOST_RLE = 64
# The header of an RLE frame: the number of segments, and where each of at most 15 begins (PS3.5, G.5).
_RLE_HEAD = struct.Struct("<16L")
# A byte below begins a literal run, a byte above a repeated one; itself it stands for nothing (PS3.5, G.3.1).
_NO_RUN = 128
_BYTE_BITS = 8
_AXES = 2
# A writer that leaves the last bits out harms no more than a row of blocks.
_LAST_ROWS = 8


def stored_values(dataset: Dataset, form: Form) -> NDArray[np.uint16] | NDArray[np.int16]:
    """Return the stored values of the pixels, shape (rows, columns).

    Bits above BitsStored are masked, and signed values are extended. `pixel_array` of pydicom would be the same, but
    for JPEG 2000 with other bits than BitsStored.

    Raises:
        RejectedImage: `dicom_tag_missing`, `truncated`, `dicom_frame_kind`, `dicom_frame_size`, `dicom_pixel_bytes`
            or `dicom_pixels_damaged`.
        MemoryError: the process may use too little memory.
    """
    if "PixelData" not in dataset:
        raise RejectedImage("dicom_tag_missing", tag="PixelData (7FE0,0010)")
    coding = coding_of(dataset)
    try:
        if coding in {Coding.NATIVE, Coding.RLE}:
            values = _by_pydicom(dataset, form)
        else:
            frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
            values = _DECODERS[coding](checked(frame, coding, form))
    except (*DAMAGED, RuntimeError) as error:
        raise_fault(error)
        raise RejectedImage("dicom_pixels_damaged") from error
    if values.shape != (form.rows, form.columns):
        raise RejectedImage("dicom_frame_kind")
    return _masked(values, form)


def _by_pydicom(dataset: Dataset, form: Form) -> NDArray[np.generic]:
    """Decode native pixels, or an RLE frame (PS3.5, annex G) after a check that it cannot be a bomb."""
    pixels, syntax = dataset["PixelData"], dataset.file_meta.TransferSyntaxUID
    rle = syntax == RLELossless
    if rle:
        _check_rle(len(pixels.value), form.bytes)
        check_bytes(
            _rle_bytes(get_frame(pixels.value, 0, number_of_frames=1), form.allocated // _BYTE_BITS), form
        )
    else:
        check_bytes(len(pixels.value), form)
    options: dict[str, Any] = {
        "allow_excess_frames": False,
        "pixel_keyword": "PixelData",
        "pixel_vr": pixels.VR,
        "rows": form.rows,
        "columns": form.columns,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        # Nothing is inverted here; this only says that there is one sample.
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": form.allocated,
        "bits_stored": form.stored,
        "pixel_representation": int(form.signed),
    }
    plugin = "pydicom" if rle else ""
    values, _ = get_decoder(syntax).as_array(pixels.value, raw=True, decoding_plugin=plugin, **options)
    return values


def _check_rle(length: int, unpacked: int) -> None:
    """Check that an RLE frame can hold its picture, and is no bomb. Raises RejectedImage."""
    if unpacked > _MOST_RLE * length:
        raise RejectedImage("truncated")
    if length > _LONGEST_RLE * unpacked + _SPARE_BYTES:
        raise RejectedImage("dicom_frame_kind")


def _rle_bytes(frame: bytes, segments: int) -> int:
    """Return how many bytes an RLE frame holds, unpacked. pydicom drops what is too much.

    Raises ValueError or struct.error if it has no header for so many segments.
    """
    count, *starts = _RLE_HEAD.unpack_from(frame)
    if count != segments:
        raise ValueError("the number of segments is not that of the bytes of a pixel")
    return sum(_segment_bytes(frame[start:end]) for start, end in pairwise([*starts[:segments], len(frame)]))


def _segment_bytes(segment: bytes) -> int:
    """Return the bytes of an RLE segment, unpacked (PS3.5, G.3.2)."""
    at = total = 0
    end = len(segment)
    while at < end:
        head = segment[at]
        if head < _NO_RUN:
            # The last one may be cut, or be the zero that makes the length even.
            total += min(head + 1, end - at - 1)
            at += head + 2
        elif head > _NO_RUN:
            at += 2
            if at <= end:
                total += 257 - head
        else:
            at += 1
    return total


def _jpeg(frame: bytes) -> NDArray[np.generic]:
    """Decode a JPEG frame. Raises RejectedImage (`truncated`) if data are missing before its end."""
    import imagecodecs

    values: NDArray[np.generic] = imagecodecs.jpeg8_decode(frame)
    longer, predictor = with_more_data(frame)
    # libjpeg decodes missing data as pixels that do not differ from their prediction: the one to the left, or a grey. A
    # border of a film is as plain. If data are missing, it also decodes what is put in their place.
    plain = values.ndim == _AXES and bool((values[-1] == values[-1, 0]).all())
    if (plain or predictor > 1) and not np.array_equal(
        imagecodecs.jpeg8_decode(longer)[:-_LAST_ROWS], values[:-_LAST_ROWS]
    ):
        raise RejectedImage("truncated")
    return values


def _jpeg_ls(frame: bytes) -> NDArray[np.generic]:
    import jpeg_ls

    values, facts = jpeg_ls.decode_pixel_data(frame)
    kind = "u1" if facts["bits_per_sample"] <= _BYTE_BITS else "<u2"
    return np.frombuffer(values, dtype=kind).reshape(facts["height"], facts["width"])


def _jpeg_2000(frame: bytes) -> NDArray[np.generic]:
    from openjpeg.utils import decode

    values: NDArray[np.generic] = decode(frame)
    return values


_DECODERS: dict[Coding, Callable[[bytes], NDArray[np.generic]]] = {
    Coding.JPEG: _jpeg,
    Coding.JPEG_LOSSLESS: _jpeg,
    Coding.JPEG_LS: _jpeg_ls,
    Coding.JPEG_2000: _jpeg_2000,
}


def _masked(values: NDArray[np.generic], form: Form) -> NDArray[np.uint16] | NDArray[np.int16]:
    """Keep the stored bits, and extend the sign of signed values (PS3.5, 8.1.1)."""
    bits = values.astype(np.uint16) & np.uint16((1 << form.stored) - 1)
    if not form.signed:
        return bits
    spare = 16 - form.stored
    return (bits << np.uint16(spare)).view(np.int16) >> np.int16(spare)
