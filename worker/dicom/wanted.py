"""The elements that Nightread reads of a DICOM object. All others are passed over, and never kept.

No name, address, comment or private element is among them. The birth date is read to work out the age, and dropped.
"""

from __future__ import annotations

_PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_GREY_SCALE = (
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
)
_SPACING = ("PixelSpacing", "PixelSpacingCalibrationType", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_SUITABILITY = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "ConversionType",
    "PresentationIntentType",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
)
_IDENTITY = (
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "PatientSex",
    "Laterality",
    "ImageLaterality",
    "Manufacturer",
    "ManufacturerModelName",
)

KEYWORDS = (*_PIXELS, *_GREY_SCALE, *_SPACING, *_SUITABILITY, *_IDENTITY)
