"""What Nightread keeps of an image's header: whose image it is, without a name, and how it was taken.

Nothing else of a header is kept: no name, no date of birth, no address, no free text, no private tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Completed years above which an age is taken for a mistake.
OLDEST = 120


class AgeSource(StrEnum):
    """Where an age comes from."""

    PATIENT_AGE = "patient_age"
    BIRTH_AND_STUDY_DATE = "birth_and_study_date"
    SIDECAR = "sidecar"
    FORM = "form"


@dataclass(frozen=True)
class Identity:
    """What is known of an image; None: not known.

    Attributes:
        study_uid, series_uid, instance_uid: DICOM UIDs, at most 64 characters.
        accession: accession number, at most 16 characters.
        patient_key: pseudonymous key of the patient, 64 hexadecimal digits: see `worker.dicom.patients`.
        age_years: age when the image was taken, from 0 to `OLDEST`.
        age_source: where the age comes from; None if there is no age.
        sex: `M`, `F` or `O`, as in DICOM.
        view: `PA`, `AP`, or another term of DICOM (PS3.3, C.8.1.2.1.1); an image of another view is not scored.
        laterality: `R`, `L`, `U` (unpaired) or `B` (both), as in DICOM.
        manufacturer: of the device, one of the names that Nightread knows, or `other`.
        station_class: `CR` (computed radiography) or `DX` (digital radiography), by the SOP class.
    """

    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    accession: str | None = None
    patient_key: str | None = None
    age_years: float | None = None
    age_source: AgeSource | None = None
    sex: str | None = None
    view: str | None = None
    laterality: str | None = None
    manufacturer: str | None = None
    station_class: str | None = None
