"""training.data.augment and training.recipe: variants of images, and valid recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.augment import augmented, augmented_batch
from training.data.spectrum import radial_spectra
from training.errors import WrongInput
from training.recipe import AugmentSection, load_recipe, recipe_of_card, with_overrides
from worker.inference.exposure import normalise
from worker.phantom import draw_phantom

RECIPE = load_recipe("nightread")
STILL = AugmentSection(
    side=96, rotation=(0, 0), zoom=(1, 1), aspect=(1, 1), shift=(0, 0), shear=(0, 0), flip=0, detail=(0, 0), detail_radius=(5, 5), gamma=(1, 1),
    contrast=(1, 1), brightness=(0, 0), shading=(0, 0), blur=(0, 0), noise=(0, 0), jpeg=(90, 90),
    jpeg_share=0, erased=(0, 0), erased_size=(0.1, 0.1),
    spectrum=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def grey() -> NDArray[np.uint8]:
    return np.stack([np.asarray(draw_phantom(seed, width=96, height=96)) for seed in range(6)])


def drawn(grey: NDArray[np.uint8], seed: int = 0, **change: object) -> NDArray[np.uint8]:
    recipe = AugmentSection.model_validate(STILL.model_dump() | change)
    return augmented(grey, 96, recipe, np.random.default_rng(seed))


def test_empty_ranges_leave_only_normalisation(grey: NDArray[np.uint8]) -> None:
    assert np.array_equal(drawn(grey[0]), normalise(grey[0]))


def test_variants_are_normalised_like_server_inputs(grey: NDArray[np.uint8]) -> None:
    for seed in range(10):
        result = drawn(grey[0], seed, gamma=(0.5, 2.0), contrast=(0.5, 1.6), brightness=(-0.2, 0.2))
        # Normalising again changes almost nothing; it would if exposure were not normalised yet.
        assert np.abs(normalise(result).astype(int) - result).mean() < 8


def test_a_flip_is_a_mirror(grey: NDArray[np.uint8]) -> None:
    mirrored = normalise(grey[0][:, ::-1].copy())
    assert np.abs(drawn(grey[0], flip=1).astype(int) - mirrored).mean() < 1


def test_a_crop_enlarges_and_a_shift_moves(grey: NDArray[np.uint8]) -> None:
    crop = drawn(grey[0], zoom=(0.5, 0.5))[8:-8:4, 8:-8:4]
    middle = normalise(grey[0])[28:-28:2, 28:-28:2]
    assert np.corrcoef(crop.ravel(), middle.ravel())[0, 1] > 0.97
    moved = drawn(grey[0], shift=(0.25, 0.25))[:72, :72]
    assert np.corrcoef(moved.ravel(), grey[0][24:, 24:].ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": (8, 8)}, {"shear": (0.2, 0.2)}, {"aspect": (1.2, 1.2)}, {"gamma": (2, 2)},
        {"contrast": (2.5, 2.5)}, {"brightness": (0.5, 0.5)}, {"shading": (0.4, 0.4)},
        {"detail": (0.5, 0.5)}, {"detail": (-0.5, -0.5)}, {"jpeg_share": 1, "jpeg": (10, 10)}, {"erased": (3, 3)},
    ],
)  # fmt: skip
def test_each_range_has_an_effect(grey: NDArray[np.uint8], change: dict[str, Any]) -> None:
    assert np.abs(drawn(grey[0], **change).astype(int) - drawn(grey[0])).mean() > 0.5


@pytest.mark.parametrize("change", [{"blur": (2, 2)}, {"noise": (20, 20)}])
def test_blur_and_noise_affect_half_of_the_images(grey: NDArray[np.uint8], change: dict[str, Any]) -> None:
    changed_ones = [not np.array_equal(drawn(grey[0], seed, **change), drawn(grey[0])) for seed in range(60)]
    assert 15 < sum(changed_ones) < 45


def test_each_image_has_its_own_random_stream(grey: NDArray[np.uint8]) -> None:
    recipe = RECIPE.augment
    one = augmented_batch(grey, np.array([3, 1]), 64, recipe, (1, 2))
    other = augmented_batch(grey, np.array([1, 5, 3]), 64, recipe, (1, 2))
    assert np.array_equal(one[0], other[2])
    assert np.array_equal(one[1], other[0])
    assert not np.array_equal(one, augmented_batch(grey, np.array([3, 1]), 64, recipe, (1, 3)))
    assert one.shape == (2, 64, 64)
    twins = augmented_batch(np.stack([grey[0], grey[0]]), np.arange(2), 64, recipe, (1, 2))
    assert not np.array_equal(*twins)


def test_a_share_of_images_gets_another_spectrum(grey: NDArray[np.uint8]) -> None:
    recipe = AugmentSection.model_validate(STILL.model_dump() | {"spectrum": 0.5})
    images = np.concatenate([grey] * 10)
    inputs = np.stack([normalise(image) for image in images])
    spectra = radial_spectra(inputs)
    found = augmented_batch(images, np.arange(60), 96, recipe, (1, 2), spectra)
    untouched = sum(np.array_equal(one, other) for one, other in zip(found, inputs, strict=True))
    assert 15 < untouched < 45
    assert np.array_equal(augmented_batch(images, np.arange(60), 96, recipe, (1, 2)), inputs)


def test_command_line_overrides_epochs_and_seed() -> None:
    assert with_overrides(RECIPE, epochs=3, seed=None).fit.epochs == 3
    assert with_overrides(RECIPE, epochs=None, seed=5).fit == RECIPE.fit.model_copy(update={"seed": 5})


def test_recipe_can_name_a_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "nightread"\n[fit]\nepochs = 3\n')
    found = load_recipe(str(path))
    assert found.fit == RECIPE.fit.model_copy(update={"epochs": 3})
    assert found.augment == RECIPE.augment


def test_a_recipe_survives_its_card() -> None:
    assert recipe_of_card({"recipe": RECIPE.model_dump(mode="json")}) == RECIPE


@pytest.mark.parametrize("card", [{}, {"recipe": {}}, {"recipe": "nightread"}])
def test_card_without_recipe_is_an_error(card: dict[str, Any]) -> None:
    with pytest.raises(WrongInput, match="recipe on the model's card"):
        recipe_of_card(card)


def test_wrong_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"no recipe daydream\. Choose one of fine-tune, lungs, nightread"):
        load_recipe("daydream")
    path = tmp_path / "r.toml"
    path.write_text("[model")
    with pytest.raises(WrongInput, match="is not valid"):
        load_recipe(str(path))
    path.write_text("[model]\nwidth = 3")
    with pytest.raises(WrongInput, match="model"):
        load_recipe(str(path))
