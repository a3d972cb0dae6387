"""worker.inference.gate: which images it rejects, and which gates stop the worker."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.files import encoded
from tests.gates import DEFECTS, gated_bundle, ungated_bundle, with_defect
from worker.config import Settings
from worker.errors import REJECTIONS, ModelUnusable, RejectedImage
from worker.inference.bundle import load_bundle
from worker.inference.gate import LARGEST_SATURATED, Gate, check_exposure, open_gate, rejection_code
from worker.inference.preprocess import to_model_input
from worker.phantom import draw_phantom
from worker.screening import open_scorer

LABELS = ("frontal", "inverted", "lateral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gated_bundle(tmp_path_factory.mktemp("models") / "gated")


@pytest.fixture(scope="module")
def gate(folder: Path) -> Gate:
    return opened(folder)


def opened(folder: Path) -> Gate:
    bundle = load_bundle(folder)
    return open_gate(bundle.folder, bundle.card)


def model_input(image: Image.Image, side: int = 128) -> NDArray[np.uint8]:
    return to_model_input(encoded(image, "PNG"), side)


@pytest.mark.parametrize(
    ("chances", "code"),
    [
        ((0.9, 0.06, 0.04), None),
        ((0.5, 0.5, 0.0), None),
        ((0.49, 0.02, 0.49), "lateral"),
        ((0.0, 0.6, 0.4), "inverted"),
    ],
)
def test_above_the_threshold_the_likeliest_label_is_the_code(
    chances: tuple[float, ...], code: str | None
) -> None:
    assert rejection_code(np.array(chances), LABELS, 0.5) == code


def test_an_uncertain_image_passes_under_a_high_threshold() -> None:
    assert rejection_code(np.array([0.2, 0.5, 0.3]), LABELS, 0.85) is None


@pytest.fixture(scope="module")
def chests() -> list[Image.Image]:
    return [draw_phantom(seed, width=300, opacity=seed % 2 == 0) for seed in range(6)]


def test_sound_chests_pass(gate: Gate, chests: list[Image.Image]) -> None:
    assert gate.codes(np.stack([model_input(image) for image in chests])) == [None] * len(chests)


@pytest.mark.parametrize("code", DEFECTS)
def test_a_turned_or_inverted_chest_gets_its_code(gate: Gate, chests: list[Image.Image], code: str) -> None:
    for image in chests:
        with pytest.raises(RejectedImage) as caught:
            gate.check(model_input(with_defect(image, code)))
        assert (caught.value.code, caught.value.sentence) == (code, REJECTIONS[code])


def test_check_returns_the_model_input(gate: Gate) -> None:
    passed_in = model_input(draw_phantom(7, width=300))
    assert gate.check(passed_in) is passed_in


@pytest.mark.parametrize("side", [64, 160, 192])
def test_the_gate_works_for_any_input_side(gate: Gate, side: int) -> None:
    sound = draw_phantom(8, width=300)
    inputs = [model_input(image, side) for image in (sound, with_defect(sound, "upside_down"))]
    assert gate.codes(np.stack(inputs)) == [None, "upside_down"]


def test_an_image_has_the_same_code_in_any_batch(gate: Gate) -> None:
    sound = draw_phantom(9, width=300)
    images = [sound, with_defect(sound, "inverted"), with_defect(sound, "turned_left")]
    inputs = np.stack([model_input(image) for image in images])
    assert gate.codes(inputs) == [gate.codes(image[np.newaxis])[0] for image in inputs]
    assert gate.codes(inputs[:0]) == []


def test_without_a_gate_every_model_input_passes(tmp_path: Path) -> None:
    gate = opened(ungated_bundle(tmp_path / "bundle"))
    passed_in = model_input(with_defect(draw_phantom(1, width=300), "inverted"))
    assert gate.check(passed_in) is passed_in
    assert gate.codes(np.stack([passed_in, passed_in])) == [None, None]


def test_every_label_has_a_complete_sentence(folder: Path) -> None:
    _, *codes = load_bundle(folder).card["gate"]["labels"]
    sentences = [RejectedImage(code).sentence for code in codes]
    assert len(set(sentences)) == len(codes) == 6
    assert all("{" not in sentence and sentence.endswith(".") for sentence in sentences)


@pytest.mark.parametrize(
    ("extremes", "rejected"), [(LARGEST_SATURATED - 0.02, False), (LARGEST_SATURATED + 0.02, True)]
)
@pytest.mark.parametrize("share_of_black", [0.0, 0.5, 1.0])
def test_an_image_of_black_and_white_is_saturated(
    extremes: float, share_of_black: float, *, rejected: bool
) -> None:
    grey = np.linspace(60, 200, 128 * 128).astype(np.uint8)
    count = round(extremes * len(grey))
    grey[:count] = 255
    grey[: round(share_of_black * count)] = 1
    assert (rejection(grey.reshape(128, 128)) == "saturated") is rejected


def test_a_small_chest_on_a_black_plate_is_not_saturated() -> None:
    plate = Image.new("L", (800, 800))
    plate.paste(draw_phantom(2, width=400, height=400), (200, 200))
    assert model_input(plate).shape == (128, 128)


def rejection(grey: NDArray[np.uint8]) -> str | None:
    try:
        check_exposure(grey)
    except RejectedImage as rejected:
        return rejected.code
    return None


def section(**changes: Any) -> Callable[[Path], None]:
    return edited(lambda card: card["gate"].update(changes))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        change(card)
        (folder / "card.json").write_text(json.dumps(card))

    return edit


def another_network(content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    """Replace the network by another file, with the correct SHA-256 on the card."""

    def replace(folder: Path) -> None:
        (folder / "gate.tflite").write_bytes(content(folder))
        named = {"sha256": hashlib.sha256(content(folder)).hexdigest()}
        edited(lambda card: card["files"].update({"gate.tflite": named}))(folder)

    return replace


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "gate.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "gate.tflite").write_bytes(content)


BROKEN: dict[str, Callable[[Path], object]] = {
    "gate.tflite in .* is not the file that its card names": flip_a_bit,
    "has no gate.tflite, which its card names": lambda folder: (folder / "gate.tflite").unlink(),
    "has the file gate.tflite but no section gate": edited(lambda card: card.pop("gate")),
    "has a section gate but no file gate.tflite": edited(lambda card: card["files"].pop("gate.tflite")),
    "is wrong at gate: ": edited(lambda card: card.update(gate=[])),
    "is wrong at gate.threshold: .*less than 1": section(threshold=1.0),
    "is wrong at gate.threshold: .*greater than 0": section(threshold=0.0),
    "is wrong at gate.side: ": section(side="64"),
    "is wrong at gate.labels: ": section(labels=["frontal"]),
    "has the label 'sideways', which this program does not know": section(labels=["frontal", "sideways"]),
    "has the label 'lateral', which this program does not know": section(labels=["lateral", "inverted"]),
    "does not accept 32 x 32 pixels": section(side=32),
    "computes 7 numbers, but its card has 3 labels": section(labels=["frontal", "inverted", "lateral"]),
    "cannot be loaded by LiteRT": another_network(lambda _: b"no network at all"),
    "gate.tflite in .* does not accept 64 x 64": another_network(
        lambda folder: (folder / "model.tflite").read_bytes()
    ),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_an_invalid_gate_stops_the_worker(tmp_path: Path, sentence: str) -> None:
    folder = gated_bundle(tmp_path / "bundle")
    assert open_scorer(Settings(model=folder))
    BROKEN[sentence](folder)
    with pytest.raises(ModelUnusable, match=sentence) as caught:
        open_scorer(Settings(model=folder))
    message = str(caught.value)
    assert str(folder) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert [other for other in BROKEN if re.search(other, message)] == [sentence]
