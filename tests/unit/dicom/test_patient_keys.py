from __future__ import annotations

import hashlib
import hmac

import pytest

from worker.dicom.patients import fingerprint, patient_key

KEY = b"k" * 32


def test_key_is_the_hmac_of_issuer_and_patient_id() -> None:
    made = patient_key("St. Mary", "4711", KEY)
    assert made == hmac.new(KEY, b"St. Mary\x004711", hashlib.sha256).hexdigest()


@pytest.mark.parametrize("written", ["4711", " 4711 ", "4711\0", "4711 \0"])
def test_padding_makes_no_other_patient(written: str) -> None:
    assert patient_key(None, written, KEY) == patient_key("", "4711", KEY)


def test_other_issuer_number_or_site_key_is_another_patient() -> None:
    keys = [
        patient_key("A", "4711", KEY),
        patient_key("B", "4711", KEY),
        patient_key(None, "A4711", KEY),
        patient_key("A", "4712", KEY),
        patient_key("A", "4711", b"another"),
    ]
    assert len(set(keys)) == len(keys)


def test_one_text_in_two_unicode_forms_is_one_patient() -> None:
    assert patient_key(None, "Mu\u0308-1", KEY) == patient_key(None, "M\u00fc-1", KEY)


@pytest.mark.parametrize(
    "number", [None, "", "  ", "0", "000000", "UNKNOWN", "anonymous", "N/A", "-", "???", "__"]
)
def test_placeholder_is_no_patient(number: str | None) -> None:
    assert patient_key("St. Mary", number, KEY) is None


def test_fingerprint_tells_keys_apart_and_is_no_patient_key() -> None:
    assert fingerprint(KEY) != fingerprint(b"another")
    assert len(fingerprint(KEY)) == 64
    assert fingerprint(KEY) != patient_key("", "fingerprint of the site key", KEY)
