"""What somebody states about the patient of a file that says nothing itself, in a form or in a sidecar. Pure.

The patient ID that was typed becomes a pseudonymous key at once. No message repeats a value: it may name a patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from worker.dicom import terms
from worker.dicom.patients import patient_key
from worker.imagefile.identity import OLDEST, AgeSource, Identity

SiteKey = Callable[[], bytes | None]
FIELDS = ("patient", "age_years", "sex", "view")
# The length of a patient ID in DICOM (PS3.5, 6.2, LO).
_LONGEST_ID = 64
_AGE = re.compile(r"\d{1,3}(\.\d{1,6})?", re.ASCII)
_SEXES = ("M", "F", "O")


class WrongValue(ValueError):  # noqa: N818 - says what is wrong
    """A value that cannot be right; the message names the field, and never the value."""


def identity_of(values: Mapping[str, str], source: AgeSource, site_key: SiteKey | None) -> Identity | None:
    """Return what is stated; None if nothing is.

    Args:
        values: text for any of `FIELDS`; empty text states nothing.
        source: where it is stated.
        site_key: returns the key that makes patient keys, or None if it is lost; None: there will be no patient key.

    Raises:
        WrongValue: a value cannot be right.
        TransientFailure: `site_key` failed.
    """
    stated = {name: values.get(name, "").strip() for name in FIELDS}
    if not any(stated.values()):
        return None
    age = _age(stated["age_years"])
    patient = _patient(stated["patient"])
    key = site_key() if patient and site_key else None
    return Identity(
        patient_key=patient_key(None, patient, key) if key else None,
        age_years=age,
        age_source=None if age is None else source,
        sex=_one_of(_SEXES, stated["sex"], "sex"),
        view=_view(stated["view"]),
    )


def is_side_view(view: str | None) -> bool:
    """Return whether a view is stated that is not scored."""
    return view is not None and terms.is_side_view(view)


def _patient(text: str) -> str:
    if len(text) > _LONGEST_ID or not text.isprintable():
        raise WrongValue(f"`patient` must have at most {_LONGEST_ID} characters, and only printable ones")
    return text


def _age(text: str) -> float | None:
    if not text:
        return None
    if not _AGE.fullmatch(text) or float(text) > OLDEST:
        raise WrongValue(f"`age_years` must be a number of years from 0 to {OLDEST}, such as 4 or 0.5")
    # More digits would give the day of birth.
    return round(float(text), 2)


def _view(text: str) -> str | None:
    if text and not terms.is_known_view(text):
        raise WrongValue("`view` must be PA, AP, or a lateral view such as LL, RL or LATERAL")
    return text.upper() or None


def _one_of(known: tuple[str, ...], text: str, name: str) -> str | None:
    if text and text.upper() not in known:
        raise WrongValue(f"`{name}` must be {', '.join(known[:-1])} or {known[-1]}")
    return text.upper() or None
