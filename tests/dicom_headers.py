"""Headers of DICOM objects as a file holds them: written and read again, so that no value is converted yet."""

from __future__ import annotations

import io
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def header(**attributes: Any) -> Dataset:
    """Return the header of a CR image of a chest, with these attributes; one that is None is left out."""
    made = Dataset()
    values = {
        "SOPClassUID": CR,
        "SOPInstanceUID": "1.2.3.4.5",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientID": "4711",
        "Rows": 200,
        "Columns": 100,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(made, keyword, value)
    return as_read(made)


def as_read(made: Dataset) -> Dataset:
    """Return an object as it is after it was written to a file and read again."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return pydicom.dcmread(io.BytesIO(file.getvalue()), force=True, stop_before_pixels=True)
