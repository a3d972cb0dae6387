"""Decides by its header whether a DICOM object may be scored, and takes from it what is kept: see `Identity`.

Tags decide before the image gate. Where a tag is missing, the gate decides. `DERIVED` in the Image Type is no reason: a
lossy copy of a chest image carries it, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.dicom import terms
from worker.dicom.ages import age_between, age_of
from worker.dicom.patients import patient_key
from worker.dicom.values import first_item, integer, integer_text, text, whole_text
from worker.errors import RejectedImage
from worker.imagefile.identity import AgeSource, Identity

if TYPE_CHECKING:
    from pydicom import Dataset

# Attributes (PS3.6).
_MEDIA_STORAGE_SOP_CLASS = 0x00020002
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_STUDY_DATE = 0x00080020
_ACCESSION = 0x00080050
_MODALITY = 0x00080060
_INTENT = 0x00080068
_MANUFACTURER = 0x00080070
_CODE = 0x00080100
_REGIONS = 0x00082218
_PATIENT_ID = 0x00100020
_ISSUER = 0x00100021
_BIRTH_DATE = 0x00100030
_SEX = 0x00100040
_AGE = 0x00101010
_BODY_PART = 0x00180015
_VIEW = 0x00185101
_STUDY = 0x0020000D
_SERIES = 0x0020000E
_LATERALITIES = (0x00200062, 0x00200060)
_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_VIEW_CODES = 0x00540220

_UID = re.compile(r"[0-9][0-9.]{0,63}", re.ASCII)
# A number, not a text: it has a digit.
_NUMBER = re.compile(r"(?=.*[0-9])[A-Za-z0-9._/-]{1,16}", re.ASCII)
_CLASSES = {terms.CR: "CR", terms.DX: "DX", terms.DX_FOR_PROCESSING: "DX"}


def check_suitable(dataset: Dataset) -> None:
    """Check that an object may be scored, as far as its header tells. Raises RejectedImage, which names the tag.

    The header may lack its pixel data; whether it has any is not checked here, but that it has a size.
    """
    _check_object(dataset)
    size_of(dataset)
    _check_picture(dataset)
    _check_body_part(dataset)
    _check_view(dataset)


def size_of(dataset: Dataset) -> tuple[int, int]:
    """Return width and height in pixels, as the header states them. Raises RejectedImage if it states none."""
    width, height = integer(dataset, _COLUMNS), integer(dataset, _ROWS)
    if not width or width < 0:
        raise RejectedImage("dicom_no_pixels", tag="Columns (0028,0011)")
    if not height or height < 0:
        raise RejectedImage("dicom_no_pixels", tag="Rows (0028,0010)")
    return width, height


def identity_of(dataset: Dataset, site_key: bytes | None) -> Identity:
    """Return what is kept of a header, also of an object that is rejected. Values that are not plausible are left out.

    Args:
        dataset: the header.
        site_key: makes the patient key; None: there will be none.
    """
    age, source = _age(dataset)
    key = site_key and patient_key(whole_text(dataset, _ISSUER), whole_text(dataset, _PATIENT_ID), site_key)
    return Identity(
        study_uid=_matching(_UID, text(dataset, _STUDY)),
        series_uid=_matching(_UID, text(dataset, _SERIES)),
        instance_uid=_matching(_UID, text(dataset, _SOP_INSTANCE)),
        accession=_matching(_NUMBER, text(dataset, _ACCESSION)),
        patient_key=key or None,
        age_years=age,
        age_source=source,
        sex=_one_of("MFO", text(dataset, _SEX)),
        view=_view(dataset),
        laterality=next(filter(None, (_one_of("RLUB", text(dataset, tag)) for tag in _LATERALITIES)), None),
        manufacturer=terms.manufacturer_of(text(dataset, _MANUFACTURER)),
        station_class=_CLASSES.get(_sop_class(dataset)),
    )


def _check_object(dataset: Dataset) -> None:
    sop_class = _sop_class(dataset)
    if sop_class == terms.DX_FOR_PROCESSING:
        raise RejectedImage("dicom_for_processing", tag="its SOP class (0008,0016)")
    if terms.is_secondary_capture(sop_class):
        raise RejectedImage("dicom_secondary_capture")
    if sop_class and sop_class not in _CLASSES:
        raise RejectedImage("dicom_other_object", kind=terms.object_of(sop_class))
    modality = text(dataset, _MODALITY).upper()
    if terms.is_other_modality(modality):
        raise RejectedImage("dicom_other_modality", stated=f"the modality {modality}")
    if text(dataset, _INTENT).upper() == "FOR PROCESSING":
        raise RejectedImage("dicom_for_processing", tag="its presentation intent (0008,0068)")


def _check_picture(dataset: Dataset) -> None:
    frames = integer_text(dataset, _FRAMES)
    if frames is not None and frames > 1:
        raise RejectedImage("dicom_multi_frame", frames=frames)
    meaning = text(dataset, _PHOTOMETRIC).upper()
    if meaning == terms.PALETTE:
        raise RejectedImage("dicom_palette", tag="its photometric interpretation (0028,0004)")
    if meaning.startswith(terms.COLOURS):
        raise RejectedImage("dicom_colour", tag="its photometric interpretation (0028,0004)")
    samples = integer(dataset, _SAMPLES)
    if samples is not None and samples != 1:
        raise RejectedImage("dicom_colour", tag="the number of samples of each pixel (0028,0002)")


def _check_body_part(dataset: Dataset) -> None:
    stated = text(dataset, _BODY_PART).upper()
    if terms.is_other_body_part(stated):
        known = terms.is_known_body_part(stated)
        raise RejectedImage(
            "dicom_other_body_part", stated=_stated("body part", stated, known), tag="0018,0015"
        )
    code = _first_code(dataset, _REGIONS)
    if not stated and terms.is_region_code(code) and code not in terms.CHEST_REGIONS:
        raise RejectedImage("dicom_other_body_part", stated=f"the anatomic region {code}", tag="0008,2218")


def _check_view(dataset: Dataset) -> None:
    stated = text(dataset, _VIEW).upper()
    if terms.is_side_view(stated):
        known = terms.is_known_view(stated)
        raise RejectedImage("dicom_other_view", stated=_stated("view", stated, known), tag="0018,5101")
    view = _view(dataset)
    if view and view not in terms.FRONTAL_VIEWS:
        raise RejectedImage("dicom_other_view", stated=f"the view {view}", tag="0054,0220")


def _stated(what: str, value: str, known: bool) -> str:  # noqa: FBT001 - private, and named so
    """Return words for a stated value. One that is not known may hold anything, a name too."""
    return f"the {what} {value}" if known else f"another value as the {what}"


def _sop_class(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return text(dataset, _SOP_CLASS) or (text(meta, _MEDIA_STORAGE_SOP_CLASS) if meta else "")


def _view(dataset: Dataset) -> str | None:
    stated = text(dataset, _VIEW).upper()
    if terms.is_known_view(stated):
        return stated
    return terms.VIEW_CODES.get(_first_code(dataset, _VIEW_CODES))


def _first_code(dataset: Dataset, sequence: int) -> str:
    item = first_item(dataset, sequence)
    return text(item, _CODE).upper() if item is not None else ""


def _age(dataset: Dataset) -> tuple[float | None, AgeSource | None]:
    age = age_of(text(dataset, _AGE))
    if age is not None:
        return age, AgeSource.PATIENT_AGE
    age = age_between(text(dataset, _BIRTH_DATE), text(dataset, _STUDY_DATE))
    return age, None if age is None else AgeSource.BIRTH_AND_STUDY_DATE


def _matching(pattern: re.Pattern[str], value: str) -> str | None:
    return value if pattern.fullmatch(value) else None


def _one_of(letters: str, value: str) -> str | None:
    return value.upper() if len(value) == 1 and value.upper() in letters else None
