"""training.gate.negatives, anatomy, volume and variation: drawings, spoiled chests, and valid variants."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.gates import with_defect
from training.gate.anatomy import LATERALS, OTHER_PARTS
from training.gate.negatives import NEVER_TRAINED_ON, SPOILED, THINGS
from training.gate.plate import SIDE, Grey, Plate
from training.gate.variation import STRESSES, placed, roughened, varied
from training.gate.volume import frontal
from worker.inference.exposure import bounds, counts_of
from worker.inference.gate import SMALLEST_SPAN
from worker.phantom import draw_phantom

KINDS = {**LATERALS, **OTHER_PARTS, **THINGS, **NEVER_TRAINED_ON, "frontal": frontal}


@pytest.fixture(scope="module")
def chest() -> Image.Image:
    return draw_phantom(1, width=SIDE, height=SIDE)


def from_seed(kind: str, seed: int) -> Grey:
    return KINDS[kind](np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_follows_its_seed_and_is_not_empty(kind: str) -> None:
    drawings = [from_seed(kind, seed) for seed in range(6)]
    for seed, grey in enumerate(drawings):
        assert grey.shape == (SIDE, SIDE)
        assert grey.dtype == np.uint8
        assert np.array_equal(grey, from_seed(kind, seed))
    assert len({grey.tobytes() for grey in drawings}) == 6
    spans = [high - low for low, high in map(bounds, map(counts_of, drawings))]
    assert sum(span >= SMALLEST_SPAN for span in spans) >= 5


def test_only_the_frontal_volume_shows_two_lungs() -> None:
    def middle(grey: Grey) -> float:
        rows = grey[56:104].astype(int)
        return float(rows[:, 72:88].mean() - (rows[:, 40:60].mean() + rows[:, 100:120].mean()) / 2)

    assert np.mean([middle(from_seed("frontal", seed)) > 20 for seed in range(8)]) > 0.8
    assert np.mean([middle(from_seed("lateral", seed)) > 20 for seed in range(8)]) < 0.3


def test_codes_state_the_direction_of_a_turn(chest: Image.Image) -> None:
    """A mark at the top of the image moves where the code says."""
    marked = chest.copy()
    marked.paste(255, (60, 0, 100, 8))
    rng = np.random.default_rng(0)
    grey = {code: np.asarray(change(marked, rng), dtype=int) for code, change in SPOILED.values()}
    assert (grey["turned_right"][60:100, -8:] == 255).all()
    assert (grey["turned_left"][60:100, :8] == 255).all()
    assert (grey["upside_down"][-8:, 60:100] == 255).all()
    assert (grey["inverted"][:8, 60:100] == 0).all()
    assert np.array_equal(grey["inverted"], 255 - np.asarray(marked, dtype=int))


def test_one_in_eight_inverted_images_is_turned(chest: Image.Image) -> None:
    plain = with_defect(chest, "inverted").tobytes()
    change = SPOILED["inverted"][1]
    also = [change(chest, np.random.default_rng(n)).tobytes() != plain for n in range(400)]
    assert 0.06 < np.mean(also) < 0.2


@pytest.mark.parametrize("how", SPOILED)
def test_spoiled_image_keeps_size_and_follows_its_seed(chest: Image.Image, how: str) -> None:
    _, change = SPOILED[how]
    for seed in range(12):
        once, again = (change(chest, np.random.default_rng(seed)) for _ in range(2))
        assert (once.size, once.mode) == (chest.size, "L")
        assert once.tobytes() == again.tobytes() != chest.tobytes()


def test_variant_has_requested_size_and_follows_its_seed(chest: Image.Image) -> None:
    grey = np.asarray(chest)
    variants = [varied(grey, 96, np.random.default_rng(seed)) for seed in range(40)]
    assert {variant.shape for variant in variants} == {(96, 96)}
    assert all(np.array_equal(varied(grey, 96, np.random.default_rng(s)), variants[s]) for s in range(10))
    assert len({variant.tobytes() for variant in variants}) == 40


def test_image_is_turned_cropped_and_padded(chest: Image.Image) -> None:
    quarter = np.asarray(placed(chest, SIDE, degrees=90, zoom=1), dtype=int)
    turned = np.asarray(chest.rotate(-90), dtype=int)
    other = np.asarray(chest.rotate(90), dtype=int)
    inner = (slice(4, -4), slice(4, -4))
    assert min(np.abs(quarter - each)[inner].mean() for each in (turned, other)) < 3
    near = np.asarray(placed(chest, SIDE, degrees=0, zoom=0.5), dtype=int)
    crop = np.asarray(chest.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (40, 40, 120, 120)), dtype=int)
    assert np.abs(near - crop).mean() < 3
    far = np.asarray(placed(chest, SIDE, degrees=0, zoom=2, fill=200))
    assert (far[:38] == 200).all()
    assert (far[:, -38:] == 200).all()


@pytest.mark.parametrize("stress", STRESSES)
def test_stress_changes_a_chest_and_keeps_its_size(chest: Image.Image, stress: str) -> None:
    changed = STRESSES[stress](chest)
    assert changed.size == chest.size
    gap = np.abs(np.asarray(changed, dtype=int) - np.asarray(chest, dtype=int)).mean()
    assert gap > 1.5
    if stress == "mirrored":
        assert changed.tobytes() == ImageOps.mirror(chest).tobytes()


def test_drawing_gets_film_texture_except_over_air(chest: Image.Image) -> None:
    rng = np.random.default_rng(3)
    drawing = np.zeros((SIDE, SIDE), dtype=np.uint8)
    drawing[:, 80:] = 120
    film = rng.integers(0, 256, (200, 200)).astype(np.uint8)
    rough = roughened(drawing, film, rng)
    assert (rough[:, :80] == 0).all()
    assert rough[:, 80:].std() > 10
    assert abs(rough[:, 80:].mean() - 120) < 3


def test_thicker_tissue_is_brighter() -> None:
    plate = Plate(np.random.default_rng(1), turn=0.0)
    plate.tissue[:] = 0.1
    plate.tissue[:, SIDE // 2 :] = 1.0
    film = plate.film().astype(int)
    assert film[:, SIDE // 2 :].mean() > film[:, : SIDE // 2].mean() + 60
