from __future__ import annotations

import pytest

from worker.dicom.ages import age_between, age_of


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("004Y", 4.0), ("4Y", 4.0), ("045y ", 45.0), ("120Y", 120.0), ("000Y", 0.0), ("018M", 1.5), ("030M", 2.5),
        ("052W", 1.0), ("003W", 0.08), ("010D", 0.0), ("400D", 1.08),
    ],
)  # fmt: skip
def test_age_string_is_read_in_years(text: str, years: float) -> None:
    assert age_of(text) == years


@pytest.mark.parametrize(
    "text",
    ["", "Y", "045", "121Y", "999Y", "-04Y", "4.5Y", "0004Y", "4 Y", "\u0660\u0660\u0664Y", "004Y\\005Y"],
)
def test_age_that_is_none_or_absurd_is_unknown(text: str) -> None:
    assert age_of(text) is None


@pytest.mark.parametrize(
    ("birth", "study", "years"),
    [
        ("19400305", "20040826", 64.0), ("19400305", "20050304", 64.0), ("19400305", "20050305", 65.0),
        ("20230120", "20240119", 0.92), ("20230120", "20240120", 1.0), ("20230120", "20240719", 1.42),
        ("20230120", "20241219", 1.83), ("20230120", "20250120", 2.0), ("20230120", "20250919", 2.0),
        ("20240229", "20250228", 0.92), ("20240101", "20240101", 0.0), ("1940.03.05", "2004.08.26", 64.0),
    ],
)  # fmt: skip
def test_completed_years_between_birth_and_study(birth: str, study: str, years: float) -> None:
    assert age_between(birth, study) == years


@pytest.mark.parametrize(
    ("birth", "study"),
    [
        ("", "20040826"), ("19400305", ""), ("20040827", "20040826"), ("18500101", "20040826"), ("19401305", "20040826"),
        ("00000000", "20040826"), ("1940", "20040826"), ("19400305", "tomorrow"),
    ],
)  # fmt: skip
def test_age_of_absurd_dates_is_unknown(birth: str, study: str) -> None:
    assert age_between(birth, study) is None


def test_age_and_study_date_do_not_give_the_day_of_birth() -> None:
    """Every day of a month of birth gives one of two ages."""
    ages = {age_between(f"202302{day:02}", "20240315") for day in range(1, 29)}
    assert len(ages) == 2
