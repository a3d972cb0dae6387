"""DICOM objects that tests make: a phantom as a CR or DX object, in every transfer syntax."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from worker.phantom import draw_phantom

UID_ROOT = "1.2.826.0.1.3680043.8.498.1"
# Each of these gives back every stored value.
LOSSLESS: dict[str, UID] = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG lossless P14": JPEGLossless,
    "JPEG lossless SV1": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2KLossless,
}
LOSSY: dict[str, UID] = {"JPEG baseline": JPEGBaseline8Bit, "JPEG extended": JPEGExtended12Bit}


def phantom_values(bits: int = 12, width: int = 120, seed: int = 1) -> NDArray[np.uint16]:
    """Draw a phantom with values of so many bits, all of which are used."""
    grey = np.asarray(draw_phantom(seed, width=width), dtype=np.uint32)
    noise = np.random.default_rng(seed).integers(0, 1 << max(0, bits - 8), grey.shape)
    return ((grey << max(0, bits - 8)) + noise).astype(np.uint16)


def grey_object(values: NDArray[np.integer], bits: int = 12, **elements: Any) -> Dataset:
    """Return a CR object of values of so many bits, signed if their kind is; None as an element leaves it out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    rows, columns = values.shape
    allocated = 8 if bits <= 8 else 16
    standard: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": f"{UID_ROOT}.3",
        "StudyInstanceUID": f"{UID_ROOT}.1",
        "SeriesInstanceUID": f"{UID_ROOT}.2",
        "Modality": "CR",
        "PatientName": "Planted^Name",
        "PatientID": "4711",
        "ViewPosition": "PA",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
    }
    for keyword, value in (standard | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    kind = np.dtype(f"{values.dtype.kind}{allocated // 8}").newbyteorder("<")
    dataset.PixelData = values.astype(kind).tobytes()
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def lut(first: int, entries: NDArray[np.integer], bits: int = 16, *, wide: bool = False) -> list[Dataset]:
    """Return a LUT sequence of one table; `wide`: its data are bytes (OW) instead of numbers (US)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) & 0xFFFF, first & 0xFFFF, bits])
    if wide:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return [item]


def as_file(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return the file of an uncompressed object, transcoded to a transfer syntax, with a preamble."""
    dataset = dcmread(io.BytesIO(_written(dataset, ExplicitVRLittleEndian)))
    if syntax == ExplicitVRBigEndian:
        if dataset.BitsAllocated > 8:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    elif syntax in _ENCODERS:
        dataset.PixelData = encapsulate([_ENCODERS[syntax](dataset.pixel_array)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    return _written(dataset, syntax)


def with_pixels(data: bytes, syntax: UID, pixels: bytes) -> bytes:
    """Return the file of an object with this compressed frame in the place of its pixels."""
    dataset = dcmread(io.BytesIO(data))
    dataset.PixelData = encapsulate([pixels])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return _written(dataset, syntax)


def stating(data: bytes, **elements: Any) -> bytes:
    """Return the file of an object with other values of these elements, and the same pixels."""
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return _written(dataset, dataset.file_meta.TransferSyntaxUID)


def without_preamble(data: bytes) -> bytes:
    """Return a file without its preamble."""
    return data[132:]


def without_meta(dataset: Dataset, syntax: UID = ImplicitVRLittleEndian) -> bytes:
    """Return the bare data set of an object, without preamble and file meta information."""
    buffer = io.BytesIO()
    dcmwrite(
        buffer,
        Dataset(dataset),
        enforce_file_format=False,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
    )
    return buffer.getvalue()


def _written(dataset: Dataset, syntax: UID) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", ComputedRadiographyImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", f"{UID_ROOT}.3")
    buffer = io.BytesIO()
    # Big endian is asked for only by its arguments; the others follow from the transfer syntax.
    dcmwrite(
        buffer,
        dataset,
        enforce_file_format=True,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
    )
    return buffer.getvalue()


def _jpeg(level: int) -> Callable[[NDArray[np.integer]], bytes]:
    def encode(values: NDArray[np.integer]) -> bytes:
        bits = 8 if values.dtype.itemsize == 1 else 12
        return bytes(imagecodecs.jpeg8_encode(values, bitspersample=bits, level=level))

    return encode


def _lossless(predictor: int) -> Callable[[NDArray[np.integer]], bytes]:
    def encode(values: NDArray[np.integer]) -> bytes:
        kind = np.uint8 if values.dtype.itemsize == 1 else np.uint16
        bits = 8 * kind().itemsize
        return bytes(
            imagecodecs.jpeg8_encode(
                values.view(kind), lossless=True, predictor=predictor, bitspersample=bits
            )
        )

    return encode


_ENCODERS: dict[UID, Callable[[NDArray[np.integer]], bytes]] = {
    JPEGBaseline8Bit: _jpeg(98),
    JPEGExtended12Bit: _jpeg(98),
    JPEGLossless: _lossless(4),
    JPEGLosslessSV1: _lossless(1),
    HTJ2KLossless: lambda values: bytes(imagecodecs.htj2k_encode(values, reversible=True)),
}
