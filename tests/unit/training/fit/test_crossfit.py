"""training.data.cohort, conditions, crossfit and fitting: no patient is scored by a network that saw them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.eager import eagerly
from training.data.cohort import FOLDER, TABLE, Cohort, read_cohort
from training.data.conditions import PLAIN, RESTYLED, STRESSED, Condition, conditions
from training.data.radiographs import targets
from training.data.spectrum import radial_spectra
from training.errors import WrongInput
from training.fit.crossfit import Workspace, distilled_targets, load_or_train, out_of_fold, select_examples
from training.fit.fitting import Batches, TrainingPlan, sample_weights
from training.fit.history import read_history
from training.recipe import Recipe, load_recipe
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom


@pytest.fixture(scope="module", autouse=True)
def train_eagerly() -> Iterator[None]:
    with eagerly():
        yield


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the shipped recipe with a tiny network and two epochs."""
    said = load_recipe("nightread").model_dump()
    block = {"blocks": 1, "kernel": 3, "stride": 2, "expand": 2, "width": 8}
    stages = [block, block | {"stride": 1}]
    said["network"] |= {"side": 32, "stem": 8, "stages": stages, "pretrained": "none"}
    said["fit"] |= {"batch_size": 8, "epochs": 2}
    said["split"]["folds"] = 2
    said["augment"]["side"] = said["stress"]["side"] = 40
    return Recipe.model_validate(said)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write phantoms in Kaggle's folders and a table beside them; each patient has two images."""
    root = tmp_path_factory.mktemp("images")
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / "train" / folder).mkdir(parents=True)
    for n in range(16):
        kind = "virus" if n % 4 < 2 else "bacteria"
        normal, sick = f"IM-{n // 2:04}-{n:04}.jpeg", f"person{n // 2}_{kind}_{n}.jpeg"
        write_phantom(root / "train" / "NORMAL" / normal, n, width=48, opacity=False)
        write_phantom(root / "train" / "PNEUMONIA" / sick, 100 + n, width=48, opacity=True)
    with (root / "adults.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "patient_id"])
        for n in range(12):
            write_phantom(root / f"adult{n}.jpg", 300 + n, width=48, opacity=n % 2 == 0)
            rows.writerow([f"adult{n}.jpg", "pneumonia" if n % 2 == 0 else "normal", f"p{n // 2}"])
    return root


@pytest.fixture(scope="module")
def cohort(recipe: Recipe, images: Path) -> Cohort:
    return read_cohort(recipe, images, images / "adults.csv", None, lambda _: None)


def course(recipe: Recipe) -> TrainingPlan:
    return TrainingPlan(recipe.network, recipe.fit, recipe.sampling, recipe.augment)


def test_folds_separate_patients_and_have_both_classes(cohort: Cohort) -> None:
    for patient in {radiograph.patient for radiograph in cohort.radiographs}:
        for source in (FOLDER, TABLE):
            mask = np.array([radiograph.patient == patient for radiograph in cohort.radiographs])
            assert len(set(cohort.fold[mask & (cohort.source == source)])) <= 1
    assert (len(cohort), int((cohort.source == TABLE).sum())) == (44, 12)
    assert set(cohort.fold) == {0, 1}


def test_cohort_inputs_equal_the_servers(cohort: Cohort) -> None:
    for place in (0, 20, 40):
        content = cohort.radiographs[place].path.read_bytes()
        assert np.array_equal(cohort.inputs[place], to_model_input(content, 32))


def test_folder_works_with_and_without_train(recipe: Recipe, images: Path) -> None:
    direct = read_cohort(recipe, images / "train", None, None, lambda _: None)
    assert len(direct) == 32
    assert len(read_cohort(recipe, images, None, 10, lambda _: None)) == 10


def test_too_few_patients_are_an_error(recipe: Recipe, images: Path) -> None:
    split = recipe.split.model_copy(update={"folds": 9})
    with pytest.raises(WrongInput, match="8 patients with normal images are too few for 9 folds"):
        read_cohort(recipe.model_copy(update={"split": split}), images, None, None, lambda _: None)


def test_conditions_are_plain_stressed_and_restyled(recipe: Recipe, cohort: Cohort) -> None:
    tried = conditions(recipe, cohort)
    assert set(tried) == {PLAIN, STRESSED, RESTYLED}
    assert np.array_equal(tried[PLAIN].inputs, cohort.inputs)
    assert len(tried[STRESSED].of) == recipe.stress.variants * len(cohort)
    again = conditions(recipe, cohort)
    assert all(np.array_equal(tried[name].inputs, again[name].inputs) for name in tried)
    # The sharper class is now the blurrier one.
    sick = np.array([radiograph.pneumonia for radiograph in cohort.radiographs])
    plain, other = radial_spectra(tried[PLAIN].inputs), radial_spectra(tried[RESTYLED].inputs)
    before = plain[sick].mean(axis=0) - plain[~sick].mean(axis=0)
    after = other[sick].mean(axis=0) - other[~sick].mean(axis=0)
    assert np.corrcoef(before, after)[0, 1] < 0


def test_no_patient_is_scored_by_a_network_that_saw_them(
    recipe: Recipe, cohort: Cohort, tmp_path: Path
) -> None:
    """Each fold has its own class in this test, so a leak would show at once."""
    labels = np.eye(3, dtype=np.float32)[np.where(cohort.fold == 0, 0, 1)]
    tried = {PLAIN: Condition(cohort.inputs, np.arange(len(cohort)))}
    fit = recipe.fit.model_copy(update={"epochs": 5, "learning_rate": 0.03})
    eager = replace(course(recipe), fit=fit)
    found = out_of_fold("t", eager, cohort, labels, tried, Workspace(tmp_path, lambda _: None))[PLAIN]
    assert not np.isnan(found).any()
    # The network that scores fold 0 saw only class 1, and vice versa.
    assert np.array_equal(found.argmax(axis=1), np.where(cohort.fold == 0, 1, 0))


def test_finished_network_is_reused_only_for_the_same_plan(
    recipe: Recipe, cohort: Cohort, tmp_path: Path
) -> None:
    said: list[str] = []
    work = Workspace(tmp_path, said.append)
    shown = select_examples(cohort, targets(cohort.radiographs), cohort.fold == 0)
    first = load_or_train("one", course(recipe), shown, work)
    said.clear()
    again = load_or_train("one", course(recipe), shown, work)
    assert any("exists already" in line for line in said)
    assert not any("epoch" in line for line in said)
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    said.clear()
    load_or_train("one", course(recipe).seeded(99), shown, work)
    assert any(line.startswith("epoch 1/2") for line in said)
    assert {path.suffix for path in tmp_path.iterdir()} == {".keras", ".csv", ".png"}
    assert again.history == first.history
    assert [set(each) >= {"loss", "accuracy"} for each in read_history(again.history)] == [True, True]


def test_tuning_starts_from_the_given_weights(recipe: Recipe, cohort: Cohort, tmp_path: Path) -> None:
    work = Workspace(tmp_path, lambda _: None)
    shown = select_examples(cohort, targets(cohort.radiographs), cohort.fold == 0)
    first = load_or_train("one", course(recipe), shown, work).model
    gentle = recipe.fit.model_copy(update={"learning_rate": 1e-7, "epochs": 1})
    tuned = load_or_train("two", replace(course(recipe), fit=gentle, start=first), shown, work).model
    for one, other in zip(first.get_weights(), tuned.get_weights(), strict=True):
        assert other == pytest.approx(one, abs=1e-3)


def test_table_images_repeat_as_the_recipe_says(recipe: Recipe, cohort: Cohort) -> None:
    sampling = recipe.sampling.model_copy(update={"table_repeats": 3})
    shown = select_examples(cohort, targets(cohort.radiographs), np.ones(len(cohort), dtype=bool))
    fit = recipe.fit.model_copy(update={"batch_size": 17, "mixup": 0.0})
    batches = Batches(replace(course(recipe), sampling=sampling, fit=fit), shown)
    assert batches.num_batches == (32 + 3 * 12) // 17
    counted = np.bincount(batches._order, minlength=len(cohort))
    assert np.array_equal(counted, np.where(cohort.source == TABLE, 3, 1))
    inputs, labels, weights = batches[0]
    assert (inputs.shape, labels.shape, weights.shape) == ((17, 32, 32, 1), (17, 3), (17,))


def test_classes_are_balanced_within_each_source() -> None:
    labels = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0, 0, 0, 2]]
    table = np.array([False] * 4 + [True] * 4)
    weights = sample_weights(labels, table, 1.0)
    for source in (table, ~table):
        normal = labels[:, 0] == 1
        assert weights[source & normal].sum() == pytest.approx(weights[source & ~normal].sum())


def test_teacher_has_the_recipes_share(cohort: Cohort) -> None:
    tried = {PLAIN: Condition(cohort.inputs, np.arange(len(cohort)))}
    opinion = {PLAIN: np.tile(np.log([0.2, 0.7, 0.1]), (len(cohort), 1))}
    known = targets(cohort.radiographs)
    assert distilled_targets(cohort, opinion, tried, 0.0, 1.0) == pytest.approx(known)
    assert distilled_targets(cohort, opinion, tried, 1.0, 1.0)[0] == pytest.approx([0.2, 0.7, 0.1])
    half = distilled_targets(cohort, opinion, tried, 0.5, 1.0)
    assert half == pytest.approx((known + np.array([0.2, 0.7, 0.1])) / 2)
