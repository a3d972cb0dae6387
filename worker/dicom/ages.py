"""The age of a patient in years, from a header. No age is precise enough to give the day of birth with the study date."""

from __future__ import annotations

import re
from datetime import date

from worker.imagefile.identity import OLDEST

# DICOM asks for three digits and a letter (PS3.5, 6.2, AS). Devices also write fewer digits, or a small letter.
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
_MONTHS = 12
_DAYS_OF_MONTH = 365.25 / 12
# Below this age, months count: two years, as in DICOM's recommendation for AS.
_IN_MONTHS = 24


def age_of(text: str) -> float | None:
    """Return the years of an Age String such as `004Y`, `018M`, `003W` or `010D`; None if it is none or absurd.

    Days and weeks are rounded to months.
    """
    found = _AGE.fullmatch(text.strip().upper())
    if not found:
        return None
    number = int(found[1])
    months = {
        "D": round(number / _DAYS_OF_MONTH),
        "W": round(7 * number / _DAYS_OF_MONTH),
        "M": number,
        "Y": _MONTHS * number,
    }
    return _years(months[found[2]])


def age_between(birth: str, study: str) -> float | None:
    """Return the completed years between two dates (`YYYYMMDD`, PS3.5, 6.2, DA); None if they are none or absurd.

    Below two years, the completed months count.
    """
    born, taken = _date(birth), _date(study)
    if born is None or taken is None or taken < born:
        return None
    months = _MONTHS * (taken.year - born.year) + taken.month - born.month - (taken.day < born.day)
    return _years(months if months < _IN_MONTHS else months - months % _MONTHS)


def _years(months: int) -> float | None:
    years = round(months / _MONTHS, 2)
    return years if years <= OLDEST else None


def _date(text: str) -> date | None:
    # ACR-NEMA wrote points (PS3.5, 6.2, note to DA).
    digits = text.strip().replace(".", "")
    if not re.fullmatch(r"\d{8}", digits, re.ASCII):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
