"""training.exploration.shortcuts: numbers that separate the classes are found, and chance is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.exploration.shortcuts import Number, age_of, shortcuts, together

SICK = np.arange(200) % 2 == 1
RNG = np.random.default_rng(0)


def noise(rows: int = 200) -> np.ndarray:
    return np.random.default_rng(5).normal(size=rows)


def test_separating_numbers_come_first_in_either_direction() -> None:
    up, down = noise() + 2 * SICK, noise() - 3 * SICK
    found = shortcuts(SICK, [Number("noise", "", noise()), Number("up", "", up), Number("down", "", down)])
    assert [item.name for item in found] == ["down", "up", "noise"]
    assert [item.telling for item in found] == [True, True, False]
    assert found[0].auc < 0.05
    assert found[0].strength == 1 - found[0].auc
    assert found[1].auc == pytest.approx(0.92, abs=0.05)
    assert found[1].pneumonia - found[1].normal == pytest.approx(2, abs=0.3)


def test_few_images_give_no_warning() -> None:
    few = np.array([False, False, False, True, True, True])
    (found,) = shortcuts(few, [Number("x", "", np.array([1.0, 2, 4, 3, 5, 6]))])
    assert found.strength > 0.85
    assert not found.telling


def test_constant_numbers_and_single_classes_are_skipped() -> None:
    assert shortcuts(SICK, [Number("x", "", np.ones(200))]) == []
    assert shortcuts(np.ones(200, dtype=bool), [Number("x", "", noise())]) == []


def test_unknown_values_are_left_out() -> None:
    values = np.where(np.arange(200) < 100, np.nan, 1.0 * SICK)
    (found,) = shortcuts(SICK, [Number("x", "", values, yes_or_no=True)])
    assert (found.auc, found.normal, found.pneumonia) == (1.0, 0.0, 1.0)


def test_effect_of_preprocessing_is_measured() -> None:
    (found,) = shortcuts(SICK, [Number("x", "", noise() + 3 * SICK, evened=noise())])
    assert found.auc > 0.95
    assert found.evened_auc == pytest.approx(0.5, abs=0.1)


def test_several_numbers_find_more_than_one() -> None:
    x, y = RNG.normal(size=(2, 400))
    sick = x * y > 0
    found = together(sick, [str(n) for n in range(400)], "xy", "", np.column_stack([x, y]))
    assert found is not None
    assert found.auc > 0.95


def test_recognising_a_patient_does_not_help() -> None:
    """Each patient has their own numbers and label, so the numbers of other patients say nothing."""
    patients = np.repeat(np.arange(60), 8)
    sick = (np.arange(60) % 2 == 1)[patients]
    own = np.random.default_rng(2).normal(size=(60, 12))[patients]
    found = together(sick, [str(patient) for patient in patients], "own", "", own)
    assert found is not None
    assert found.auc < 0.7


def test_too_few_patients_give_no_regression() -> None:
    assert together(SICK, [str(n % 40) for n in range(200)], "x", "", noise()[:, None]) is None


@pytest.mark.parametrize(("text", "age"), [("0", 0), ("59", 59), ("120", 120), ("4.5", 4.5)])
def test_an_age_is_a_number(text: str, age: float) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize("text", ["148", "-1", "", None, "060Y", "nan", "inf"])
def test_impossible_age_is_unknown(text: str | None) -> None:
    assert math.isnan(age_of(text))
