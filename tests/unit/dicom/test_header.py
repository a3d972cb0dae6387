from __future__ import annotations

import logging
import warnings
from dataclasses import asdict
from typing import Any

import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from tests.conftest import TEST_DATA
from tests.dicom_headers import DX, header
from worker.dicom.header import check_suitable, identity_of, size_of
from worker.dicom.patients import patient_key
from worker.errors import RejectedImage
from worker.imagefile.identity import AgeSource, Identity

KEY = b"k" * 32
NAME = "ZWETSCHGE"
TEXTS = {
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT",
}  # fmt: skip
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"


def rejection(dataset: Dataset) -> tuple[str, str]:
    with pytest.raises(RejectedImage) as rejected:
        check_suitable(dataset)
    return rejected.value.code, rejected.value.sentence


def code(value: str, scheme: str = "SCT", meaning: str = "") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


GOOD: dict[str, dict[str, Any]] = {
    "a CR image": {},
    "a DX image": {"SOPClassUID": DX, "Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"},
    "a scanned film": {"Modality": "RG"},
    "a derived image": {"ImageType": ["DERIVED", "PRIMARY"]},
    "a derived secondary image": {"ImageType": ["DERIVED", "SECONDARY"]},
    "no SOP class": {"SOPClassUID": None},
    "no modality": {"Modality": None},
    "no body part": {"BodyPartExamined": None},
    "an empty body part": {"BodyPartExamined": ""},
    "an unknown body part": {"BodyPartExamined": "UNKNOWN"},
    "a thorax": {"BodyPartExamined": "THORAX"},
    "a portable chest": {"BodyPartExamined": "PORT CHEST"},
    "chest and abdomen": {"BodyPartExamined": "CHESTABDOMEN"},
    "a chest in Spanish": {"BodyPartExamined": "TORAX"},
    "a region that is the chest": {"BodyPartExamined": None, "AnatomicRegionSequence": code("51185008")},
    "a region in the older code": {
        "BodyPartExamined": None,
        "AnatomicRegionSequence": code("T-D3000", "SRT"),
    },
    "no view": {"ViewPosition": None},
    "an AP view": {"ViewPosition": "AP"},
    "a view of no term": {"ViewPosition": "ERECT"},
    "a frontal view code": {"ViewPosition": None, "ViewCodeSequence": code("399348003")},
    "one frame": {"NumberOfFrames": "1"},
    "no number of samples": {"SamplesPerPixel": None},
    "no photometric interpretation": {"PhotometricInterpretation": None},
}
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "for processing by its class": ({"SOPClassUID": FOR_PROCESSING}, "dicom_for_processing", "SOP class (0008,0016)"),
    "for processing by its intent": (
        {"SOPClassUID": DX, "PresentationIntentType": "FOR PROCESSING"}, "dicom_for_processing", "intent (0008,0068)",
    ),
    "a CT image": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "dicom_other_object", "is a CT image"),
    "an enhanced MR image": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, "dicom_other_object", "is an MR image"),
    "a mammogram": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "dicom_other_object", "is a mammogram"),
    "a presentation state": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "dicom_other_object", "presentation state"),
    "a structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "dicom_other_object", "structured report"),
    "a radiotherapy plan": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.5"}, "dicom_other_object", "of radiotherapy"),
    "a class that nobody knows": ({"SOPClassUID": "1.2.3.4"}, "dicom_other_object", "of another kind"),
    "a secondary capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "dicom_secondary_capture", "secondary capture"),
    "a multi-frame capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "dicom_secondary_capture", "secondary"),
    "a mammogram as CR": ({"Modality": "MG"}, "dicom_other_modality", "the modality MG (0008,0060)"),
    "no rows": ({"Rows": None}, "dicom_no_pixels", "Rows (0028,0010)"),
    "no columns": ({"Columns": 0}, "dicom_no_pixels", "Columns (0028,0011)"),
    "two frames": ({"NumberOfFrames": "2"}, "dicom_multi_frame", "2 frames (0028,0008)"),
    "colour": ({"PhotometricInterpretation": "YBR_FULL_422"}, "dicom_colour", "(0028,0004)"),
    "three samples": ({"SamplesPerPixel": 3}, "dicom_colour", "(0028,0002)"),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "dicom_palette", "(0028,0004)"),
    "a leg": ({"BodyPartExamined": "LEG"}, "dicom_other_body_part", "states the body part LEG (0018,0015)"),
    "a lower leg": ({"BodyPartExamined": "LOWER LEG"}, "dicom_other_body_part", "the body part LOWER LEG (0018,0015)"),
    "a thoracic spine": ({"BodyPartExamined": "THORACIC SPINE"}, "dicom_other_body_part", "body part THORACIC SPINE"),
    "no term of a body part": ({"BodyPartExamined": NAME}, "dicom_other_body_part", "another value as the body part (0018"),
    "a region that is the knee": (
        {"BodyPartExamined": None, "AnatomicRegionSequence": code("72696002", "SCT", NAME)},
        "dicom_other_body_part", "the anatomic region 72696002 (0008,2218)",
    ),
    "a lateral view": ({"ViewPosition": "LL"}, "dicom_other_view", "states the view LL (0018,5101)"),
    "a lateral view in words": ({"ViewPosition": "LATERAL"}, "dicom_other_view", "the view LATERAL (0018,5101)"),
    "a lateral view with more": ({"ViewPosition": f"LAT {NAME}"}, "dicom_other_view", "another value as the view (0018,5101)"),
    "a decubitus view": ({"ViewPosition": "RLD"}, "dicom_other_view", "the view RLD (0018,5101)"),
    "a lateral view code": (
        {"ViewPosition": None, "ViewCodeSequence": code("R-10236", "SNM3", NAME)}, "dicom_other_view", "LL (0054,0220)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attributes", GOOD.values(), ids=GOOD.keys())
def test_suitable_object_goes_on(attributes: dict[str, Any]) -> None:
    check_suitable(header(**attributes))


@pytest.mark.parametrize(("attributes", "expected", "words"), BAD.values(), ids=BAD.keys())
def test_unsuitable_object_is_rejected_by_its_tag(
    attributes: dict[str, Any], expected: str, words: str
) -> None:
    found, sentence = rejection(header(**attributes))
    assert found == expected
    assert words in sentence
    assert NAME not in sentence


def test_file_meta_stands_in_for_a_missing_class() -> None:
    made = header(SOPClassUID=None)
    made.file_meta.MediaStorageSOPClassUID = UID(FOR_PROCESSING)
    assert rejection(made)[0] == "dicom_for_processing"


def published(name: str, **attributes: Any) -> Dataset:
    """Return the header of a published object; if the folder of test data is missing, one with these attributes."""
    path = TEST_DATA / "dicom" / name
    return pydicom.dcmread(path, stop_before_pixels=True) if path.exists() else header(**attributes)


def test_published_chest_is_suitable_and_identified() -> None:
    dates = {"PatientBirthDate": "19400305", "StudyDate": "20040826"}
    chest = published("cr_chest_pa_monochrome1_j2k.dcm", PatientSex="F", Manufacturer="Philips", **dates)
    check_suitable(chest)
    kept = identity_of(chest, KEY)
    assert (kept.age_years, kept.age_source) == (64.0, AgeSource.BIRTH_AND_STUDY_DATE)
    assert (kept.sex, kept.view, kept.manufacturer, kept.station_class) == ("F", "PA", "Philips", "CR")


def test_published_leg_and_ct_are_rejected() -> None:
    leg = published("cr_extremity_monochrome1_j2k_lossless.dcm", BodyPartExamined="EXTREMITY")
    assert "the body part EXTREMITY (0018,0015)" in rejection(leg)[1]
    scan = published("ct_head_uncompressed.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert "is a CT image" in rejection(scan)[1]


def test_size_is_width_and_height() -> None:
    assert size_of(header()) == (100, 200)


def test_identity_holds_what_is_kept() -> None:
    made = header(
        SOPClassUID=DX,
        AccessionNumber="A-2026.1",
        IssuerOfPatientID="St. Mary",
        PatientAge="004Y",
        PatientBirthDate="19400305",
        StudyDate="20260101",
        PatientSex="F",
        ImageLaterality="U",
        Manufacturer="FUJIFILM Corporation",
    )
    assert identity_of(made, KEY) == Identity(
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        instance_uid="1.2.3.4.5",
        accession="A-2026.1",
        patient_key=patient_key("St. Mary", "4711", KEY),
        age_years=4.0,
        age_source=AgeSource.PATIENT_AGE,
        sex="F",
        view="PA",
        laterality="U",
        manufacturer="Fujifilm",
        station_class="DX",
    )


def test_identity_of_an_empty_header_is_empty() -> None:
    assert identity_of(Dataset(), KEY) == Identity()


def test_without_a_site_key_there_is_no_patient_key() -> None:
    assert identity_of(header(), None).patient_key is None


def test_age_comes_from_the_dates_if_no_plausible_age_is_stated() -> None:
    made = identity_of(header(PatientAge="999Y", PatientBirthDate="20210305", StudyDate="20260301"), KEY)
    assert (made.age_years, made.age_source) == (4.0, AgeSource.BIRTH_AND_STUDY_DATE)
    unknown = identity_of(header(PatientBirthDate="18000101", StudyDate="20260301"), KEY)
    assert (unknown.age_years, unknown.age_source) == (None, None)


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("Philips Medical Systems", "Philips"), ("FUJI PHOTO FILM CO. LTD.", "Fujifilm"), ("GE", "GE"),
        ('"GE Healthcare"', "GE"), (NAME, "other"), ("", None),
    ],
)  # fmt: skip
def test_manufacturer_is_a_known_name(stated: str, kept: str | None) -> None:
    assert identity_of(header(Manufacturer=stated), KEY).manufacturer == kept


def test_lateral_view_of_a_rejected_object_is_known() -> None:
    assert identity_of(header(ViewPosition="LL"), KEY).view == "LL"


def planted(name: str) -> Dataset:
    """Return a header in which every attribute that may hold text holds this name, as a file holds it."""
    kinds = {
        tag: vr for tag, (vr, *_) in DicomDictionary.items() if vr in TEXTS and 0x00080000 <= tag < 0x7FE00000
    }
    value = name.encode()
    elements: dict[BaseTag, DataElement | RawDataElement] = {
        Tag(tag): RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
        for tag, vr in (kinds | {0x00190010: "LO", 0x00191001: "LO"}).items()
    }
    made = Dataset(elements)
    made.Rows, made.Columns = 200, 100
    return made


def test_name_in_every_tag_is_neither_kept_nor_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """The sentence of a rejection is read, too. No warning of pydicom repeats a value: it would stand in a log."""
    made = planted(NAME)
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        kept = asdict(identity_of(made, KEY))
        try:
            check_suitable(made)
        except RejectedImage as rejected:
            kept["sentence"] = rejected.sentence
    assert kept["sentence"]
    assert NAME not in str(kept)
    assert kept["patient_key"]
    assert not [warning for warning in warned if NAME in str(warning.message)]
    assert NAME not in caplog.text
