"""DICOM objects that the tests make, and the programs of DCMTK that send them. No object shows a patient."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from tests.conftest import HANG_S

# By their full paths: pynetdicom installs programs of the same names.
ECHOSCU, STORESCU, DCMSEND = "/usr/bin/echoscu", "/usr/bin/storescu", "/usr/bin/dcmsend"
_SIDE = 96
_BYTE = 8


def radiograph(
    number: int, *, sop_class: UID = uid.ComputedRadiographyImageStorage, bits: int = 12, side: int = _SIDE
) -> Dataset:
    """Return an object with noise as its picture; each number has a picture and UIDs of its own."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(
        f"1.2.826.0.1.3680043.10.1.{number}"
    )
    dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.10.2.{number}"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.3.{number}"
    dataset.PatientName, dataset.PatientID = "Phantom^Number", str(number)
    dataset.Modality = "CT" if sop_class == uid.CTImageStorage else "CR"
    dataset.Rows = dataset.Columns = side
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 if bits == _BYTE else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    kind = np.uint8 if bits == _BYTE else np.uint16
    dataset.PixelData = np.random.default_rng(number).integers(0, 2**bits, (side, side), kind).tobytes()
    dataset["PixelData"].VR = "OB" if bits == _BYTE else "OW"
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """Write an object to a file."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def written(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Write so many radiographs to files."""
    folder.mkdir(exist_ok=True)
    return [write(radiograph(first + number), folder / f"{number}.dcm") for number in range(count)]


def call(
    program: str,
    port: int,
    *arguments: str | Path,
    called: str = "NIGHTREAD",
    calling: str = "MODALITY",
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program of DCMTK against a receiver on this machine until it ends."""
    options, files = (
        [str(a) for a in arguments if str(a)[0] in "-+"],
        [str(a) for a in arguments if str(a)[0] not in "-+"],
    )
    return subprocess.run(
        [*prefix, program, "-v", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port), *files],
        capture_output=True,
        text=True,
        # A sender may print what stands in an object.
        errors="replace",
        check=False,
        timeout=HANG_S,
    )
