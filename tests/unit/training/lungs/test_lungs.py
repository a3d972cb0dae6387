"""training.lungs: masks, the fit, and films that are cut to the lungs that were found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.bundles import WHOLE_FILMS, with_lungs
from tests.fixtures import LUNG_NETWORK
from tests.unit.training.eager import eagerly
from tests.unit.training.tiny_recipe import tiny_lungs
from training import cli
from training.data.augment import WHOLE
from training.data.cohort import Cohort, read_cohort
from training.data.conditions import PLAIN, STRESSED, conditions
from training.errors import WrongInput
from training.export.release import representative
from training.fit.crossfit import Workspace
from training.lungs.finding import add_to_bundle, cut_to_lungs, part_of, with_masks, with_network
from training.lungs.fit import Batches, Examples, examples_of, fit_lungs
from training.lungs.masks import read_masks
from training.lungs.measures import agreement
from training.recipe import AugmentSection, LungsSection, Recipe, load_recipe
from worker.card.identity import LUNGS
from worker.errors import ModelUnusable
from worker.inference.admission import Admission
from worker.inference.bundle import load_bundle
from worker.inference.lung_box import LungBox, find_box
from worker.inference.lungs import FIELD_SIDE, NETWORK_SIDE, LungFinder, whole_film
from worker.inference.runtime import LiteRtRuntime
from worker.phantom import write_phantom

PATIENTS = 14
# Twice the training's own noise, for a network of a few steps.
CLOSE = 0.12


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Return the recipe of the cut to the lungs, with tiny networks."""
    return tiny_lungs(lungs={"widths": [8, 16], "epochs": 40, "batch_size": 4, "learning_rate": 0.01})


@pytest.fixture(scope="module")
def plan(recipe: Recipe) -> LungsSection:
    assert recipe.lungs is not None
    return recipe.lungs


@pytest.fixture(scope="module")
def finder() -> LungFinder:
    return LungFinder(LiteRtRuntime(LUNG_NETWORK), 0.06, 0.05)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write phantoms in Kaggle's folders, one a patient."""
    root = tmp_path_factory.mktemp("images")
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / folder).mkdir()
    for n in range(PATIENTS):
        write_phantom(root / "NORMAL" / f"IM-{n:04}-{n:04}.jpeg", n, width=300, opacity=False)
        write_phantom(root / "PNEUMONIA" / f"person{n}_bacteria_{n}.jpeg", 100 + n, width=300, opacity=True)
    return root


@pytest.fixture(scope="module")
def cohort(recipe: Recipe, images: Path) -> Cohort:
    return read_cohort(recipe, images, None, None, lambda _: None)


@pytest.fixture(scope="module")
def masks(cohort: Cohort, finder: LungFinder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a mask for all images but one, as the network of the fixtures sees the lungs."""
    folder = tmp_path_factory.mktemp("masks")
    for radiograph, field in zip(cohort.radiographs[1:], cohort.grey[1:], strict=True):
        lung = Image.fromarray(finder.lung(whole_film(field)) > 0.5)
        lung.resize((224, 224)).save(folder / f"{radiograph.path.stem}.png")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("work"), lambda _: None)


@pytest.fixture(scope="module")
def fitted(
    recipe: Recipe, cohort: Cohort, masks: Path, work: Workspace
) -> tuple[Cohort, Path, dict[str, object]]:
    cut, part = with_masks(recipe, cohort, masks, work)
    return cut, part.file, part.section


def quiet(ranges: AugmentSection) -> AugmentSection:
    """Return ranges that change nothing."""
    nothing = ("rotation", "shift", "shear", "detail", "brightness", "shading", "blur", "noise", "erased")
    one = ("zoom", "aspect", "gamma", "contrast")
    update = dict.fromkeys(nothing, (0.0, 0.0)) | dict.fromkeys(one, (1.0, 1.0))
    return ranges.model_copy(update=update | {"jpeg_share": 0.0, "flip": 0.0})


def test_masks_belong_to_the_images_of_their_names(cohort: Cohort, masks: Path) -> None:
    found = read_masks(masks, cohort.radiographs, 96)
    assert found.of.tolist() == list(range(1, len(cohort)))
    assert found.lung.shape == (len(cohort) - 1, 96, 96)
    share = (found.lung > 127).mean(axis=(1, 2))
    assert 0.1 < share.min() < share.max() < 0.5


def test_grey_masks_count_like_masks_of_one_bit(cohort: Cohort, tmp_path: Path) -> None:
    first = cohort.radiographs[0].path.stem
    drawn = np.zeros((50, 50), np.uint8)
    drawn[10:20, 10:30] = 3
    Image.fromarray(drawn).save(tmp_path / f"{first}.png")
    (lung,) = read_masks(tmp_path, cohort.radiographs, 50).lung
    assert np.array_equal(lung > 0, drawn > 0)
    assert lung.max() == 255


def test_folder_without_masks_and_a_file_that_is_none_are_errors(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="holds no mask of any image"):
        read_masks(tmp_path, cohort.radiographs, 96)
    (tmp_path / f"{cohort.radiographs[0].path.stem}.png").write_bytes(b"no picture")
    with pytest.raises(WrongInput, match="is no mask"):
        read_masks(tmp_path, cohort.radiographs, 96)


def test_mask_moves_with_its_image(recipe: Recipe, plan: LungsSection) -> None:
    drawn = np.zeros((1, 96, 96), np.uint8)
    drawn[0, 20:60, 15:40] = drawn[0, 30:80, 55:85] = 255
    # Light lungs: whatever lies beyond the image is dark, so the place of the lungs can be read from the variant.
    moving = quiet(recipe.augment).model_copy(update=plan.geometry() | {"flip": 0.5})
    batches = Batches(plan, moving, Examples(drawn, drawn))
    alike = []
    for _ in range(20):
        image, lung = batches.variant(0)
        alike.append(np.corrcoef(image.ravel(), lung.ravel())[0, 1])
        batches.on_epoch_end()
    assert min(alike) > 0.9
    assert len({round(value, 6) for value in alike}) == 20


def test_examples_are_the_chosen_images_with_a_mask(cohort: Cohort, masks: Path) -> None:
    found = read_masks(masks, cohort.radiographs, FIELD_SIDE)
    assert cohort.fold[0] in {0, 1}
    for fold in (0, 1):
        chosen = cohort.fold == fold
        examples = examples_of(cohort, found, chosen)
        assert len(examples.grey) == int(chosen[1:].sum())


def test_networks_find_the_lungs_of_patients_they_have_not_seen(
    recipe: Recipe, cohort: Cohort, finder: LungFinder, fitted: tuple[Cohort, Path, dict[str, object]]
) -> None:
    cut, _, section = fitted
    assert len(cut) + len(cut.rejected) == len(cohort)
    assert len(cut) >= 0.9 * len(cohort)
    expected = [box.edges for field in cut.grey if (box := finder.find(whole_film(field))) is not None]
    assert np.median(np.abs(cut.parts - np.array(expected))) < CLOSE / 2
    assert len(cut.finders) == recipe.split.folds
    measured = section["out_of_fold"]
    assert isinstance(measured, dict)
    assert measured["images"] == section["masks"] == len(cohort) - 1
    assert measured["dice"] > 0.7
    assert section["not_found"] == {"children": len(cohort) - len(cut)}


def test_each_fold_has_a_network_that_saw_no_patient_of_it(
    recipe: Recipe,
    plan: LungsSection,
    cohort: Cohort,
    masks: Path,
    work: Workspace,
    fitted: tuple[Cohort, Path, dict[str, object]],
) -> None:
    """A network is kept under the hash of all that it was fitted to, so asking for it again shows what it saw."""
    found = read_masks(masks, cohort.radiographs, FIELD_SIDE)
    said: list[str] = []
    for fold in (0, 1):
        others = examples_of(cohort, found, cohort.fold != fold)
        fit_lungs(f"lungs-{fold + 1}", plan, recipe.augment, others, replace(work, print_line=said.append))
    everyone = examples_of(cohort, found, np.ones(len(cohort), dtype=bool))
    final = fit_lungs("lungs-final", plan, recipe.augment, everyone, replace(work, print_line=said.append))
    assert len(said) == 3
    assert all(line.endswith("exists already") for line in said)
    assert final == fitted[1]


def test_another_margin_needs_no_other_network_and_another_seed_does(
    recipe: Recipe, plan: LungsSection, cohort: Cohort, masks: Path, tmp_path: Path
) -> None:
    examples = examples_of(cohort, read_masks(masks, cohort.radiographs, FIELD_SIDE), cohort.fold == 0)
    short = plan.model_copy(update={"epochs": 1})
    space = Workspace(tmp_path, lambda _: None)
    with eagerly():
        first = fit_lungs("one", short, recipe.augment, examples, space)
        wider = fit_lungs("one", short.model_copy(update={"margin": 0.1}), recipe.augment, examples, space)
        other = fit_lungs("one", short.model_copy(update={"seed": 4}), recipe.augment, examples, space)
    assert first == wider
    assert first != other
    assert first.read_bytes() != other.read_bytes()


def test_inputs_of_the_training_are_those_of_the_server(
    recipe: Recipe, cohort: Cohort, finder: LungFinder, tmp_path: Path
) -> None:
    bundle = with_lungs(tmp_path / "lungs")
    card = json.loads((bundle / "card.json").read_text())
    card["input"]["side"] = recipe.network.side
    (bundle / "card.json").write_text(json.dumps(card))
    admission = Admission(load_bundle(bundle))
    cut = cut_to_lungs(recipe, cohort, [finder, finder])
    assert len(cut) == len(cohort)
    for radiograph, model_input in zip(cut.radiographs, cut.inputs, strict=True):
        assert np.array_equal(admission.admit(radiograph.path.read_bytes()).model_input, model_input)


def test_image_without_lungs_is_rejected_as_in_screening(
    recipe: Recipe, cohort: Cohort, finder: LungFinder
) -> None:
    grey = cohort.grey.copy()
    grey[3] = np.tile(np.linspace(0, 255, FIELD_SIDE).astype(np.uint8)[:, np.newaxis], FIELD_SIDE)
    cut = cut_to_lungs(recipe, replace(cohort, grey=grey), [finder, finder])
    assert [(radiograph.path, code) for radiograph, code in cut.rejected] == [
        (cohort.radiographs[3].path, "no_lungs")
    ]
    assert len(cut) == len(cut.inputs) == len(cut.parts) == len(cohort) - 1
    with pytest.raises(WrongInput, match="No lungs were found in any image"):
        cut_to_lungs(recipe, replace(cohort, grey=np.tile(grey[3], (len(cohort), 1, 1))), [finder, finder])


def test_stressed_inputs_are_cut_to_lungs_that_are_found_anew(
    recipe: Recipe, cohort: Cohort, finder: LungFinder
) -> None:
    cut = cut_to_lungs(recipe, cohort, [finder, finder])
    calm = quiet(recipe.stress)
    tried = conditions(recipe.model_copy(update={"stress": calm}), cut)
    assert np.array_equal(tried[STRESSED].inputs[: len(cut)], tried[PLAIN].inputs)
    # A film that is only moved gives nearly the same input; the network would see a moved film otherwise.
    moved = calm.model_copy(update={"zoom": (1.1, 1.1), "shift": (0.03, 0.03)})
    found = conditions(recipe.model_copy(update={"stress": moved}), cut)[STRESSED].inputs[: len(cut)]
    whole = conditions(recipe.model_copy(update={"stress": moved}), replace(cohort, finders=()))[
        STRESSED
    ].inputs
    small = np.stack([np.asarray(Image.fromarray(each).resize((32, 32))) for each in cohort.inputs])
    change = np.abs(found.astype(float) - cut.inputs).mean()
    assert change < 0.6 * np.abs(whole[: len(cohort)].astype(float) - small).mean()


def test_network_of_another_bundle_is_used_again(
    recipe: Recipe, cohort: Cohort, finder: LungFinder, tmp_path: Path
) -> None:
    other = load_bundle(with_lungs(tmp_path / "other"))
    cut, part = with_network(recipe, cohort, part_of(other))
    assert np.array_equal(cut.parts, cut_to_lungs(recipe, cohort, [finder, finder]).parts)
    assert part.section["reused"] == (
        f"The lung network is that of nightread {other.version}: there were no masks, so nothing was measured."
    )
    assert part.section["not_found"] == {"children": 0}
    own = tmp_path / "own"
    shutil.copytree(WHOLE_FILMS, own)
    card = json.loads((own / "card.json").read_text())
    card["input"]["preprocessing_version"] = recipe.preprocessing
    (own / "card.json").write_text(json.dumps(card))
    add_to_bundle(own, part)
    bundle = load_bundle(own)
    assert (own / LUNGS).read_bytes() == LUNG_NETWORK.read_bytes()
    assert Admission(bundle).admit(cohort.radiographs[0].path.read_bytes()).lungs is not None
    with pytest.raises(ModelUnusable, match="has no lung network, so the training needs masks"):
        part_of(load_bundle(WHOLE_FILMS))


def test_quantisation_sees_what_the_released_network_finds(
    recipe: Recipe, cohort: Cohort, finder: LungFinder
) -> None:
    cut = cut_to_lungs(recipe, cohort, [finder, finder])
    elsewhere = replace(cut, parts=np.tile(WHOLE, (len(cut), 1)))
    assert np.array_equal(representative(recipe, cut, finder), representative(recipe, elsewhere, finder))
    assert not np.array_equal(representative(recipe, cut, None), representative(recipe, elsewhere, None))


def test_agreement_counts_overlap_edges_and_misses() -> None:
    masks = np.zeros((2, NETWORK_SIDE, NETWORK_SIDE), np.uint8)
    masks[:, 16:48, 16:48] = 255
    found = np.zeros(masks.shape, np.float32)
    found[0, 16:48, 16:48] = found[1, 16:48, 16:32] = 1
    boxes: list[LungBox | None] = [find_box(found[0], 0.05), None]
    measured = agreement(found, boxes, masks)
    assert measured.dice == pytest.approx((1 + 2 * 512 / (512 + 1024)) / 2)
    assert measured.edge == pytest.approx(0.0)
    assert measured.not_found == 1


def test_recipe_with_lungs_needs_films_of_their_side() -> None:
    said = load_recipe("lungs").model_dump()
    said["augment"]["side"] = 160
    with pytest.raises(ValueError, match=r"with a section lungs, augment.side must be 192"):
        Recipe.model_validate(said)


def test_training_that_cuts_to_lungs_needs_masks_or_a_lung_network(images: Path, tmp_path: Path) -> None:
    arguments = ["--recipe", "lungs", "--data", str(images), "--out", str(tmp_path / "x"), "--limit", "40"]
    done = CliRunner().invoke(cli.train, arguments)
    assert done.exit_code == 2
    assert "give --masks, or a bundle with --lungs" in done.stderr
