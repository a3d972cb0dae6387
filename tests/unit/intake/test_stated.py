"""worker.intake.stated: what a form or a sidecar may say of a patient, and what it may not."""

from __future__ import annotations

import pytest

from worker.dicom.patients import patient_key
from worker.imagefile.identity import AgeSource, Identity
from worker.intake.stated import FIELDS, WrongValue, identity_of

KEY = b"k" * 32


def test_all_that_is_stated_is_kept_but_the_patient_id() -> None:
    values = {"patient": " 4711 ", "age_years": "3.5", "sex": "f", "view": "pa"}
    found = identity_of(values, AgeSource.FORM, lambda: KEY)
    assert found == Identity(
        patient_key=patient_key(None, "4711", KEY),
        age_years=3.5,
        age_source=AgeSource.FORM,
        sex="F",
        view="PA",
    )
    assert "4711" not in repr(found)


@pytest.mark.parametrize("values", [{}, dict.fromkeys(FIELDS, ""), dict.fromkeys(FIELDS, "  ")])
def test_empty_fields_state_nothing(values: dict[str, str]) -> None:
    assert identity_of(values, AgeSource.SIDECAR, lambda: KEY) is None


def test_without_an_age_there_is_no_source_of_one() -> None:
    found = identity_of({"sex": "M"}, AgeSource.SIDECAR, lambda: KEY)
    assert found == Identity(sex="M")


def test_patient_has_the_key_that_a_dicom_object_without_issuer_gives() -> None:
    found = identity_of({"patient": "4711"}, AgeSource.SIDECAR, lambda: KEY)
    assert found is not None
    assert found.patient_key == patient_key("", "4711", KEY)


@pytest.mark.parametrize("text", ["0", "0.5", "4", "120", "120.0", "7.25"])
def test_plausible_age_is_taken(text: str) -> None:
    found = identity_of({"age_years": text}, AgeSource.FORM, lambda: KEY)
    assert found is not None
    assert found.age_years == float(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("age_years", text)
            for text in ("300", "120.5", "-1", "4,5", "four", "1e2", "nan", "inf", "0x4", "\u0664")
        ),
        *(("sex", text) for text in ("X", "male", "MF", "1")),
        *(("view", text) for text in ("knee", "PA AP", "DOE^JOHN")),
        *(("patient", text) for text in ("4" * 65, "47\n11", "47\x0011", "4711\u202e")),
    ],
)
def test_wrong_value_is_refused_with_the_name_of_its_field(field: str, value: str) -> None:
    with pytest.raises(WrongValue, match=f"`{field}` must") as refused:
        identity_of({field: value}, AgeSource.FORM, lambda: KEY)
    assert len(value) < 3 or value not in str(refused.value), "the value may name a patient"
