"""worker.inference.lungs and admission: where the lungs are, what is cut out, and which bundles are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.bundles import with_lungs
from tests.files import encoded
from tests.gates import ungated_bundle
from worker.card.identity import LUNGS, model_sha256
from worker.card.loading import CARD
from worker.errors import ModelUnusable, RejectedImage
from worker.inference.admission import Admission
from worker.inference.bundle import load_bundle
from worker.inference.exposure import normalise
from worker.inference.lung_box import LungBox, find_box
from worker.inference.lungs import (
    FIELD_SIDE,
    LungFinder,
    cut,
    open_lungs,
    reduced,
    whole_film,
)
from worker.inference.preprocess import FILM_ALONE, to_model_input
from worker.phantom import draw_phantom

LEAST = 0.05
# How much of the edge of a phantom's box may be off: a pixel and a half of the lung network.
SLACK = 0.024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_lungs(tmp_path_factory.mktemp("models") / "lungs")


@pytest.fixture(scope="module")
def admission(folder: Path) -> Admission:
    return Admission(load_bundle(folder))


@pytest.fixture(scope="module")
def finder(folder: Path) -> LungFinder:
    bundle = load_bundle(folder)
    found = open_lungs(bundle.folder, bundle.card)
    assert found is not None
    return found


def field(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(image.convert("L").resize((FIELD_SIDE, FIELD_SIDE), Image.Resampling.BILINEAR))


def test_edges_lie_between_pixels_where_the_probability_crosses_one_half() -> None:
    lung = np.zeros((10, 10), np.float32)
    lung[3:6, 2:7] = 1
    lung[3:6, 7] = 0.25
    box = find_box(lung, LEAST)
    assert box is not None
    # The centre of pixel 2 is at 2.5, and one half is reached half a pixel before it, at 2.0. To the right, from 1 at 6.5
    # to 0.25 at 7.5, it is reached at 6.5 + 2 / 3.
    assert box.edges == pytest.approx((0.2, 0.3, 0.65 + 0.2 / 3, 0.6))
    assert box.area == pytest.approx(0.15)


def test_specks_move_no_edge_and_too_little_lung_is_none() -> None:
    lung = np.zeros((20, 20), np.float32)
    lung[5:15, 5:15] = 1
    expected = find_box(lung, LEAST)
    lung[0, 19] = lung[19, 0] = 1
    found = find_box(lung, LEAST)
    assert expected is not None
    assert found is not None
    assert found.edges == expected.edges
    assert find_box(lung, 0.3) is None
    assert find_box(np.zeros((20, 20), np.float32), LEAST) is None
    # Lung everywhere, but never two pixels of a row: no row belongs to it.
    assert find_box(np.eye(20, dtype=np.float32), 0.01) is None


def test_box_at_the_border_of_the_film_ends_there() -> None:
    box = find_box(np.ones((8, 8), np.float32), LEAST)
    assert box is not None
    assert box.edges == (0.0, 0.0, 1.0, 1.0)
    assert box.widened(0.06).edges == box.edges
    assert LungBox(0.02, 0.2, 0.5, 0.7, 0.1).widened(0.1).edges == pytest.approx((0.0, 0.15, 0.548, 0.75))


def test_cut_part_is_the_resampled_part() -> None:
    ramp = np.tile(np.arange(FIELD_SIDE, dtype=np.uint8), (FIELD_SIDE, 1))
    part = cut(ramp, (0.25, 0.0, 0.75, 1.0), FIELD_SIDE // 2)
    assert np.array_equal(part[0], np.arange(48, 144))
    assert np.array_equal(cut(ramp, (0.0, 0.0, 1.0, 1.0), FIELD_SIDE), ramp)


@pytest.mark.parametrize("seed", range(6))
def test_box_follows_a_chest_that_is_moved_and_shrunk(finder: LungFinder, seed: int) -> None:
    chest = draw_phantom(seed, width=600).convert("L")
    before = finder.find(whole_film(field(chest)))
    width, height = chest.size
    # The chest at 80 % of its size, to the left of the middle and below it.
    plate = Image.new("L", chest.size, 0)
    small = chest.resize((round(0.8 * width), round(0.8 * height)))
    left, top = round(0.05 * width), round(0.15 * height)
    plate.paste(small, (left, top))
    after = finder.find(whole_film(field(plate)))
    assert before is not None
    assert after is not None
    expected = np.multiply(before.edges, 0.8) + np.array([0.05, 0.15, 0.05, 0.15])
    assert np.abs(np.subtract(after.edges, expected)).max() < 2 * SLACK


def test_model_input_is_the_film_cut_to_the_lungs(admission: Admission, finder: LungFinder) -> None:
    chest = draw_phantom(5, width=600)
    # Two pictures of this size are decoded alike, whatever the decoder is asked for.
    data = encoded(chest.resize((256, 256)), "PNG")
    admitted = admission.admit(data)
    picture = field(chest.resize((256, 256)))
    box = finder.find(whole_film(picture))
    assert box is not None
    assert np.array_equal(admitted.model_input, normalise(cut(picture, box.edges, 128)))
    assert np.array_equal(admitted.film, whole_film(picture))
    assert admitted.part == box.edges
    assert admitted.crop is None
    assert admitted.lungs is not None
    corners = (admitted.lungs.left, admitted.lungs.top, admitted.lungs.right, admitted.lungs.bottom)
    assert np.abs(np.divide(corners, 256) - box.edges).max() <= 0.5 / 256


def test_lungs_of_a_film_on_a_page_are_in_pixels_of_the_page(admission: Admission) -> None:
    chest = draw_phantom(3, width=500)
    alone = admission.admit(encoded(chest, "PNG")).lungs
    page = ImageOps.expand(chest, (120, 80, 60, 40), 255)
    admitted = admission.admit(encoded(page, "PNG"))
    assert alone is not None
    assert admitted.lungs is not None
    assert admitted.crop is not None
    moved = (alone.left + 120, alone.top + 80, alone.right + 120, alone.bottom + 80)
    found = (admitted.lungs.left, admitted.lungs.top, admitted.lungs.right, admitted.lungs.bottom)
    film = (admitted.crop.left, admitted.crop.top, admitted.crop.right, admitted.crop.bottom)
    assert admitted.mapped == pytest.approx(np.divide(film, page.size * 2))
    assert np.abs(np.subtract(found, moved)).max() <= SLACK * max(chest.size)


def test_arms_and_borders_do_not_change_the_model_input_much(admission: Admission) -> None:
    """The network must not see where in the picture the lungs lie: that tells the classes of the training apart."""
    chest = draw_phantom(11, width=600).convert("L")
    width, height = chest.size
    tighter = chest.crop((round(0.05 * width), 0, round(0.95 * width), round(0.97 * height)))
    one, other = (admission.admit(encoded(image, "PNG")).model_input for image in (chest, tighter))
    whole, cropped = (to_model_input(encoded(image, "PNG"), 128) for image in (chest, tighter))
    differences = [np.abs(np.subtract(a, b, dtype=float)).mean() for a, b in ((one, other), (whole, cropped))]
    assert differences[0] < 0.5 * differences[1]


def test_picture_without_lungs_is_rejected(folder: Path, tmp_path: Path) -> None:
    """The gate would say so first, so this bundle has none."""
    picture = Image.radial_gradient("L")
    admission = Admission(load_bundle(ungated_bundle(tmp_path / "bare", folder)))
    with pytest.raises(RejectedImage) as rejected:
        admission.admit(encoded(picture, "PNG"))
    assert rejected.value.code == "no_lungs"
    with pytest.raises(RejectedImage) as again:
        admission.admit_again(encoded(picture, "PNG"), "3")
    assert again.value.code == "no_lungs"


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.pop("lungs"),
        lambda card: card["files"].pop(LUNGS),
        lambda card: card["input"].update(preprocessing_version=FILM_ALONE),
        lambda card: card["lungs"].update(margin=1.5),
        lambda card: card["lungs"].pop("least_area"),
        lambda card: card["lungs"].update(least_area=0),
    ],
    ids=["no section", "no file", "other preprocessing", "margin", "no least area", "no area at all"],
)
def test_card_that_contradicts_itself_stops_the_worker(folder: Path, tmp_path: Path, change: Change) -> None:
    bundle = with_lungs(tmp_path / "lungs")
    card = json.loads((bundle / CARD).read_text())
    change(card)
    (bundle / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelUnusable, match=r"lungs"):
        Admission(load_bundle(bundle))


def test_file_that_is_no_lung_network_stops_the_worker(tmp_path: Path) -> None:
    bundle = with_lungs(tmp_path / "lungs")
    card = json.loads((bundle / CARD).read_text())
    (bundle / LUNGS).write_bytes((bundle / "gate.tflite").read_bytes())
    card["files"][LUNGS] = card["files"]["gate.tflite"]
    (bundle / CARD).write_text(json.dumps(card))
    with pytest.raises(ModelUnusable, match=r"lungs.tflite in .* does not compute one number"):
        Admission(load_bundle(bundle))


def test_identity_covers_the_lung_network_and_its_rule(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    other_margin, other_area, other_network = (json.loads((folder / CARD).read_text()) for _ in range(3))
    other_margin["lungs"]["margin"] = 0.07
    other_area["lungs"]["least_area"] = 0.06
    other_network["files"][LUNGS]["sha256"] = "0" * 64
    assert len({model_sha256(each) for each in (card, other_margin, other_area, other_network)}) == 4


def test_reduced_square_has_the_edge_that_was_asked_for() -> None:
    assert reduced(np.full((FIELD_SIDE, FIELD_SIDE), 7, np.uint8), 40).tolist() == [[7] * 40] * 40
