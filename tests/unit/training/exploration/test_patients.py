"""training.exploration.patients: the images show whether a patient's name stands for one person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import BACTERIAL, VIRAL, Radiograph
from training.exploration.inventory import ListedImage
from training.exploration.patients import PatientCheck, check_patients

PATIENTS = 60
SIDE = 64 * 64


def images(splits: tuple[str, str], subtypes: tuple[int, int], patients: int = PATIENTS) -> list[ListedImage]:
    """List two images for each name: one of the first kind, one of the second."""
    return [
        ListedImage(Radiograph(Path(f"{who}-{place}"), True, subtypes[place], str(who)), splits[place], "x")
        for who in range(patients)
        for place in (0, 1)
    ]


def details(*, one_person: bool) -> NDArray[np.int8]:
    """Return noise in which a name's two images share half of their detail if the name is one person's."""
    rng = np.random.default_rng(1)
    own, shared = rng.normal(0, 20, (2 * PATIENTS, SIDE)), rng.normal(0, 20, (PATIENTS, SIDE))
    mixed = own + np.repeat(shared, 2, axis=0) if one_person else own * 1.4
    return np.clip(mixed, -127, 127).astype(np.int8)


def hashes() -> list[str]:
    return [str(number) for number in range(2 * PATIENTS)]


def asked(listed: list[ListedImage], *, one_person: bool) -> PatientCheck:
    (found,) = check_patients(listed, details(one_person=one_person), hashes())
    return found


def test_images_of_one_person_are_recognised() -> None:
    found = asked(images(("train", "train"), (VIRAL, VIRAL)), one_person=True)
    assert (found.words, found.pairs, found.kin) == ("same split, same label", PATIENTS, True)
    assert found.auc > 0.95


def test_shifted_images_of_one_person_are_recognised() -> None:
    moved = details(one_person=True).reshape(-1, 2, 64, 64)
    moved[:, 1] = np.roll(moved[:, 1], (5, -7), axis=(1, 2))
    (found,) = check_patients(
        images(("train", "train"), (VIRAL, VIRAL)), moved.reshape(2 * PATIENTS, SIDE), hashes()
    )
    assert found.kin
    moved[:, 1] = np.roll(moved[:, 1], 20, axis=1)
    (found,) = check_patients(
        images(("train", "train"), (VIRAL, VIRAL)), moved.reshape(2 * PATIENTS, SIDE), hashes()
    )
    assert not found.kin


def test_names_reused_across_splits_are_recognised() -> None:
    noise = np.random.default_rng(2).normal(0, 30, (1200, SIDE)).astype(np.int8)
    listed = images(("train", "test"), (VIRAL, VIRAL), patients=600)
    (found,) = check_patients(listed, noise, [str(number) for number in range(1200)])
    assert (found.words, found.kin) == ("other split, same label", False)


def test_few_pairs_give_no_conclusion() -> None:
    found = asked(images(("train", "train"), (BACTERIAL, VIRAL)), one_person=False)
    assert (found.words, found.kin) == ("same split, other label", None)


def test_likeness_within_a_class_is_not_kinship() -> None:
    """All viral images share detail, so different patients do too."""
    rng = np.random.default_rng(3)
    common = rng.normal(0, 40, SIDE)
    noise = np.clip(rng.normal(0, 20, (2 * PATIENTS, SIDE)) + common, -127, 127).astype(np.int8)
    (found,) = check_patients(images(("train", "train"), (VIRAL, VIRAL)), noise, hashes())
    assert found.kin is not True
    assert abs(found.auc - 0.5) < 0.15


def test_copies_are_not_compared() -> None:
    listed = images(("train", "train"), (VIRAL, VIRAL))
    assert (
        check_patients(listed, details(one_person=True), [str(number // 2) for number in range(2 * PATIENTS)])
        == []
    )


def test_replacement_is_never_the_same_patient() -> None:
    """With four patients of twelve images each, a random draw would often hit the same patient."""
    who = np.repeat(np.arange(4), 12)
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 20, (48, SIDE)) + rng.normal(0, 40, (4, SIDE))[who]
    listed = [ListedImage(Radiograph(Path("x"), True, VIRAL, str(each)), "train", "x") for each in who]
    (found,) = check_patients(listed, np.clip(noise, -127, 127).astype(np.int8), [str(n) for n in range(48)])
    assert found.pairs == 40
    assert found.auc == 1
