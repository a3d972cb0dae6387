"""training.splits: what is held out, and that nobody is scored by a network that saw them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fixtures import LUNG_NETWORK
from tests.unit.training.eager import eagerly
from tests.unit.training.tiny_recipe import tiny_lungs
from training.data.cohort import FOLDER, TABLE, Cohort, read_cohort
from training.data.conditions import PLAIN, RESTYLED, STRESSED, conditions, restricted
from training.data.radiographs import targets
from training.errors import WrongInput
from training.export.release import _calibration
from training.fit.crossfit import Workspace
from training.fit.fitting import TrainingPlan
from training.lungs.finding import cut_to_lungs
from training.recipe import Recipe
from training.splits.dividing import (
    EARLY_NUMBERS,
    FRAMING_LIES,
    SHORTCUT_LIES,
    Split,
    early_numbers,
    find_splits,
    lung_boxes,
    lying,
)
from training.splits.scoring import HeldOut, score_splits
from training.splits.shortcuts import appearance, framing, numbers_in_names, resemblance
from worker.inference.lung_box import LungBox
from worker.inference.lungs import LungFinder
from worker.inference.runtime import LiteRtRuntime
from worker.phantom import write_phantom

PATIENTS = 12


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the recipe of the cut to the lungs, with a tiny network."""
    return tiny_lungs(fit={"epochs": 5, "batch_size": 8, "learning_rate": 0.03})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write phantoms in Kaggle's folders, two a patient, and a table of adults.

    Some patients have images in both families of normal files, as far as their numbers say.
    """
    root = tmp_path_factory.mktemp("images")
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / folder).mkdir()
    for n in range(2 * PATIENTS):
        family = f"IM-{n // 2:04}" if n < PATIENTS else f"NORMAL2-IM-{n // 2 - 3:04}"
        normal, sick = f"{family}-{n:04}.jpeg", f"person{n // 2}_bacteria_{n}.jpeg"
        write_phantom(root / "NORMAL" / normal, n, width=200, opacity=False)
        write_phantom(root / "PNEUMONIA" / sick, 100 + n, width=200, opacity=True)
    with (root / "adults.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "patient_id"])
        for n in range(8):
            write_phantom(root / f"adult{n}.jpg", 300 + n, width=200, opacity=n % 2 == 0)
            rows.writerow([f"adult{n}.jpg", "pneumonia" if n % 2 == 0 else "normal", f"p{n}"])
    return root


@pytest.fixture(scope="module")
def cohort(recipe: Recipe, images: Path) -> Cohort:
    whole = read_cohort(recipe, images, images / "adults.csv", None, lambda _: None)
    finder = LungFinder(LiteRtRuntime(LUNG_NETWORK), 0.06, 0.05)
    return cut_to_lungs(recipe, whole, [finder, finder])


def patients_of(cohort: Cohort, chosen: NDArray[np.bool_]) -> set[str]:
    return {cohort.radiographs[i].patient for i in np.flatnonzero(chosen)}


def test_no_patient_is_on_both_sides_and_no_adult_on_any(recipe: Recipe, cohort: Cohort) -> None:
    splits = find_splits(recipe, cohort)
    assert [split.name for split in splits] == [EARLY_NUMBERS, SHORTCUT_LIES, FRAMING_LIES]
    sick = np.array([radiograph.pneumonia for radiograph in cohort.radiographs])
    for split in splits:
        assert not patients_of(cohort, split.held_out) & patients_of(cohort, split.trained_on)
        assert not (split.held_out | split.trained_on)[cohort.source == TABLE].any()
        for side in (split.held_out, split.trained_on):
            assert (side & sick).any()
            assert (side & ~sick).any()
        share = split.held_out.sum() / (cohort.source == FOLDER).sum()
        assert 0.15 < share < 0.4
    # The other images of a patient whose number is early in one family only are on neither side.
    neither = ~(splits[0].held_out | splits[0].trained_on) & (cohort.source == FOLDER)
    assert patients_of(cohort, neither) == {"im-0003", "im-0004"}
    for first, again in zip(splits, find_splits(recipe, cohort), strict=True):
        assert np.array_equal(first.held_out, again.held_out)


def test_recipe_without_splits_has_none(recipe: Recipe, cohort: Cohort) -> None:
    assert find_splits(recipe.model_copy(update={"splits": None}), cohort) == []


def test_side_without_a_class_is_an_error(recipe: Recipe, cohort: Cohort) -> None:
    unnumbered = [replace(one, path=one.path.with_name(f"x{one.path.name}")) for one in cohort.radiographs]
    for one, other in zip(cohort.radiographs, unnumbered, strict=True):
        other.path.unlink(missing_ok=True)
        other.path.symlink_to(one.path)
    with pytest.raises(WrongInput, match="The split early_numbers has no normal image held out"):
        find_splits(recipe, replace(cohort, radiographs=unnumbered))


@pytest.mark.parametrize(("section", "without"), [("splits", "film"), ("film", "splits")])
def test_recipe_with_this_section_needs_lungs_and_no_teacher(
    recipe: Recipe, section: str, without: str
) -> None:
    said = recipe.model_dump() | {without: None}
    teacher = {"network": said["network"], "fit": said["fit"], "share": 0.5, "temperature": 1.0}
    for change in ({"lungs": None}, {"teacher": teacher}):
        with pytest.raises(
            ValueError, match=f"a section {section} needs a section lungs, and no section teacher"
        ):
            Recipe.model_validate(said | change)


def test_each_file_family_counts_its_own_patients() -> None:
    stems = [f"IM-{n:04}-0001" for n in range(1000, 1010)]
    stems += [f"NORMAL2-IM-{n:04}-0001" for n in range(10)]
    stems += [f"person{n}_virus_{n}" for n in range(500, 520)] + ["scan7"]
    held = early_numbers(stems, 0.2)
    assert [stems[i] for i in np.flatnonzero(held)] == [
        "IM-1000-0001",
        "IM-1001-0001",
        "NORMAL2-IM-0000-0001",
        "NORMAL2-IM-0001-0001",
        *(f"person{n}_virus_{n}" for n in range(500, 504)),
    ]
    assert numbers_in_names(["scan7"])[0].tolist() == [""]


def test_what_looks_like_the_other_class_is_held_out() -> None:
    likeness = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6, 0.05])
    sick = np.array([False] * 4 + [True] * 4)
    assert lying(likeness, sick, 0.25).tolist() == [False, False, False, True, False, False, False, True]


def test_likeness_is_the_same_for_all_images_of_a_patient_and_out_of_fold() -> None:
    rng = np.random.default_rng(3)
    patients = [f"p{n % 100}" for n in range(200)]
    sick = np.arange(200) % 2 == 0
    numbers = np.where(sick, 1.0, -1.0)[:, np.newaxis] + rng.standard_normal((200, 2))
    found = resemblance(numbers, sick, patients, 1)
    assert np.array_equal(found[:100], found[100:])
    assert found[sick].mean() > 0.7
    assert found[~sick].mean() < 0.3
    # Each patient has a number of its own: a regression that has seen the patient would know the class.
    own = np.tile(np.eye(100), (2, 1))
    assert np.abs(resemblance(own, sick, patients, 1) - 0.5).max() < 0.1


def test_squares_and_products_tell_what_the_numbers_alone_do_not() -> None:
    rng = np.random.default_rng(4)
    numbers = rng.standard_normal((400, 2))
    sick = numbers[:, 0] * numbers[:, 1] > 0
    patients = [str(n) for n in range(400)]
    gain = {
        degree: np.corrcoef(resemblance(numbers, sick, patients, degree), sick)[0, 1] for degree in (1, 2)
    }
    assert gain[2] > 0.7
    assert gain[1] < 0.3


def test_appearance_is_exposure_sharpness_and_size() -> None:
    steps = np.tile(np.array([[0, 200]], np.uint8), (8, 4))
    flat = np.full((8, 8), 100, np.uint8)
    sharp, blurred = appearance([steps, flat], [1000, 2000])
    assert sharp.tolist() == pytest.approx([100, 100, 0, 0, 100, 200, 200, np.log(200), np.log(1000)])
    assert (blurred[0], blurred[1], blurred[8]) == pytest.approx((100, 0, np.log(2000)))
    assert np.isfinite(blurred).all()


def test_framing_is_the_box_without_margin(recipe: Recipe, cohort: Cohort) -> None:
    assert recipe.lungs is not None
    boxes = lung_boxes(cohort.at(np.arange(6)), recipe.lungs)
    numbers = framing([*boxes, None, LungBox(0.1, 0.2, 0.7, 0.9, 0.3)])
    assert numbers[-1].tolist() == pytest.approx([0.1, 0.2, 0.7, 0.9, 0.6, 0.7])
    assert numbers[-2].tolist() == [0, 0, 1, 1, 1, 1]
    # Each edge lies within the part that the network sees, which has a margin.
    assert np.all(numbers[:6, :2] > cohort.parts[:6, :2] - 1e-9)
    assert np.all(numbers[:6, 2:4] < cohort.parts[:6, 2:] + 1e-9)
    assert np.median(cohort.parts[:6, 2] - numbers[:6, 2]) > 0.01


def test_restricted_conditions_count_the_chosen_images(recipe: Recipe, cohort: Cohort) -> None:
    chosen = np.arange(len(cohort)) % 3 == 1
    part, tried = cohort.at(chosen), conditions(recipe, cohort)
    found = restricted(tried, chosen)
    assert np.array_equal(found[PLAIN].inputs, part.inputs)
    assert np.array_equal(found[STRESSED].of, np.tile(np.arange(len(part)), recipe.stress.variants))
    places = np.flatnonzero(chosen)
    assert np.array_equal(found[STRESSED].inputs, tried[STRESSED].inputs[[*places, *(places + len(cohort))]])
    assert np.array_equal(found[RESTYLED].inputs, tried[RESTYLED].inputs[places])


def test_held_out_images_are_scored_by_a_network_that_saw_none_of_their_patients(
    recipe: Recipe, cohort: Cohort, tmp_path: Path
) -> None:
    """Each side has its own class in this test, so a leak would show at once."""
    of_folder = cohort.source == FOLDER
    early = np.array([int(one.patient[-1]) % 2 == 0 for one in cohort.radiographs])
    held = early & of_folder
    split = Split("even_patients", held, ~early & of_folder)
    labels = np.eye(3, dtype=np.float32)[np.where(held, 0, 1)]
    plan = TrainingPlan(recipe.network, recipe.fit, recipe.sampling, recipe.augment)
    said: list[str] = []
    with eagerly():
        work = Workspace(tmp_path, said.append)
        (found,) = score_splits([split], plan, cohort, labels, conditions(recipe, cohort), work).values()
    assert said[0] == f"split even_patients: {held.sum()} images are held out"
    assert found.trained_on == split.trained_on.sum()
    assert set(found.conditions) == {PLAIN, STRESSED, RESTYLED}
    assert len(found.logits) == 9
    assert np.array_equal(found.cohort.inputs, cohort.inputs[held])
    assert len(found.logits[STRESSED]) == 2 * held.sum()
    assert np.all(found.logits[PLAIN].argmax(axis=1) == 1)


def test_held_out_side_that_is_scored_too_surely_decides_the_calibration(
    recipe: Recipe, cohort: Cohort
) -> None:
    held = (cohort.source == FOLDER) & (np.arange(len(cohort)) % 2 == 0)
    tried = conditions(recipe, cohort)
    rng = np.random.default_rng(2)
    labels = targets(cohort.radiographs)
    said = {
        name: 2 * labels[condition.of] + rng.standard_normal((len(condition.of), 3))
        for name, condition in tried.items()
    }
    too_sure = {name: 4 * rng.standard_normal((held[trial.of].sum(), 3)) for name, trial in tried.items()}
    side = HeldOut(10, cohort.at(held), restricted(tried, held), too_sure)
    alone = _calibration(recipe, cohort, said, tried, {})
    with_split = _calibration(recipe, cohort, said, tried, {"one": side})
    assert alone.temperature < 1.5
    assert with_split.temperature > 3
