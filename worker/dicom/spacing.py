"""The pixel spacing of an object, and where it was measured (PS3.3, 10.7 and C.8.11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.dicom.facts import Spacing, SpacingAt
from worker.dicom.tables import numbers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# A radiograph has pixels of 0.05 to 0.3 mm. Anything far outside is no length.
_SMALLEST_MM, _LARGEST_MM = 0.001, 10.0
_VALUES = 2


def spacing_of(dataset: Dataset) -> Spacing | None:
    """Return the spacing: at the patient if it was calibrated, else at the detector.

    PixelSpacing that differs from ImagerPixelSpacing, or that has a calibration type, was calibrated. PixelSpacing alone
    may be either (10.7.1.3). Raises RejectedImage (`dicom_tag_unreadable`).
    """
    pixel, imager = _pair(dataset, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    if pixel and pixel != imager and (imager or dataset.get("PixelSpacingCalibrationType")):
        return Spacing(*pixel, SpacingAt.PATIENT)
    if imager:
        return Spacing(*imager, SpacingAt.DETECTOR)
    if pixel:
        return Spacing(*pixel, SpacingAt.UNSTATED)
    scanned = _pair(dataset, "NominalScannedPixelSpacing")
    return Spacing(*scanned, SpacingAt.DETECTOR) if scanned else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = numbers(dataset, keyword)
    if len(values) != _VALUES or not all(_SMALLEST_MM <= value <= _LARGEST_MM for value in values):
        return None
    return values[0], values[1]
