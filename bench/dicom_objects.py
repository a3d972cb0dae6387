"""Writes phantoms as CR objects of 12 bits, each in one transfer syntax. They show no patient."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from worker.phantom import draw_phantom

SYNTAXES: dict[str, UID] = {
    "native": ExplicitVRLittleEndian,
    "jpeg_lossless_sv1": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg_2000": JPEG2000Lossless,
}
_BITS = 12
# A phantom is drawn smaller, because its grain is coarser than that of a detector. With this noise (standard deviation,
# of 4,096 values), JPEG 2000 leaves some five bits of a pixel, and the others a little more.
_SMALLER, _NOISE = 4, 3.0
_UID_ROOT = "1.2.826.0.1.3680043.8.498.2"

# It says of each picture that it has one tile.
logging.getLogger("openjpeg").setLevel(logging.WARNING)


def draw_values(seed: int, width: int) -> NDArray[np.uint16]:
    """Draw a phantom with values of 12 bits, shape (rows, columns)."""
    drawn = draw_phantom(seed, width=width // _SMALLER)
    smooth = drawn.convert("F").resize((width, _SMALLER * drawn.height), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, _NOISE, (smooth.height, smooth.width))
    values = np.asarray(smooth) * (1 << _BITS - 8) + noise
    return np.clip(np.rint(values), 0, (1 << _BITS) - 1).astype(np.uint16)


def write_objects(
    pictures: Sequence[NDArray[np.uint16]], syntax: UID, count: int, folder: Path
) -> list[Path]:
    """Write so many objects of these pictures, each with UIDs of its own, and return their files."""
    folder.mkdir(parents=True)
    datasets = [_object(values, syntax) for values in pictures]
    files = []
    for number in range(count):
        dataset = datasets[number % len(datasets)]
        for place, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
            setattr(dataset, keyword, f"{_UID_ROOT}.{place}.{number}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = folder / f"{number:06d}.dcm"
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        path.write_bytes(file.getvalue())
        files.append(path)
    return files


def _object(values: NDArray[np.uint16], syntax: UID) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = f"{_UID_ROOT}.2"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.PatientID, dataset.PatientAge = "phantom", "003Y"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelRepresentation = 0
    if syntax == JPEGLosslessSV1:
        # pydicom has no encoder for it.
        frame = imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16)
        dataset.PixelData = encapsulate([bytes(frame)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.PixelData = values.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        if syntax.is_compressed:
            dataset.compress(syntax, generate_instance_uid=False)
    return dataset
