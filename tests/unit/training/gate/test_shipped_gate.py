"""The shipped gate: it accepts drawn chests and rejects other images with the right code.

The seeds of phantoms and drawings differ from those of its training.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.files import encoded
from tests.gates import DEFECTS, with_defect
from training.gate.anatomy import LATERALS, OTHER_PARTS
from training.gate.negatives import NEVER_TRAINED_ON, SPOILED, THINGS
from training.gate.variation import STRESSES
from worker.config import Settings
from worker.errors import RejectedImage
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.gate import FILE, Gate, open_gate
from worker.inference.preprocess import to_model_input
from worker.phantom import draw_phantom

SHIPPED = Settings().model
COUNT = 24


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(SHIPPED)


@pytest.fixture(scope="module")
def gate(bundle: Bundle) -> Gate:
    assert FILE in bundle.card["files"], "the shipped bundle has no gate"
    return open_gate(bundle.folder, bundle.card)


@pytest.fixture(scope="module")
def chests() -> list[Image.Image]:
    return [draw_phantom(seed, width=700, opacity=seed % 2 == 0) for seed in range(COUNT)]


def codes(gate: Gate, bundle: Bundle, images: list[Image.Image]) -> list[str | None]:
    return [code_of(gate, bundle, image) for image in images]


def code_of(gate: Gate, bundle: Bundle, image: Image.Image) -> str | None:
    try:
        gate.check(to_model_input(encoded(image, "PNG"), bundle.side))
    except RejectedImage as rejected:
        return rejected.code
    return None


def drawn(draw: object, count: int = COUNT) -> list[Image.Image]:
    assert callable(draw)
    return [Image.fromarray(draw(np.random.default_rng((99, number)))) for number in range(count)]


def test_drawn_chests_are_accepted(gate: Gate, bundle: Bundle, chests: list[Image.Image]) -> None:
    assert codes(gate, bundle, chests) == [None] * COUNT
    assert codes(gate, bundle, [ImageOps.mirror(chest) for chest in chests]) == [None] * COUNT
    tall = [draw_phantom(seed, width=500, height=700) for seed in range(COUNT)]
    assert codes(gate, bundle, tall) == [None] * COUNT


@pytest.mark.parametrize("stress", STRESSES)
def test_stressed_drawn_chests_are_accepted(
    gate: Gate, bundle: Bundle, chests: list[Image.Image], stress: str
) -> None:
    found = codes(gate, bundle, [STRESSES[stress](chest.resize((300, 300))) for chest in chests])
    assert found.count(None) >= COUNT - 1


@pytest.mark.parametrize("code", DEFECTS)
def test_turned_and_inverted_chests_get_their_code(
    gate: Gate, bundle: Bundle, chests: list[Image.Image], code: str
) -> None:
    found = codes(gate, bundle, [with_defect(chest, code) for chest in chests])
    assert found == [code] * COUNT


@pytest.mark.parametrize("kind", [*LATERALS, *OTHER_PARTS, *THINGS, *NEVER_TRAINED_ON])
def test_nearly_all_other_images_are_rejected(gate: Gate, bundle: Bundle, kind: str) -> None:
    found = codes(gate, bundle, drawn({**LATERALS, **OTHER_PARTS, **THINGS, **NEVER_TRAINED_ON}[kind]))
    right = {"lateral"} if kind in LATERALS else {"not_a_chest", "on_a_page", "saturated", "blank"}
    assert found.count(None) <= 0.1 * COUNT
    assert sum(code in right for code in found) >= 0.7 * COUNT


# A shrunk chest on a plate is found and cut out before the gate sees it.
@pytest.mark.parametrize(
    "how", [how for how, (code, _) in SPOILED.items() if code == "not_a_chest" and how != "shrunk"]
)
def test_most_pieces_of_chests_are_rejected(
    gate: Gate, bundle: Bundle, chests: list[Image.Image], how: str
) -> None:
    pieces = [
        SPOILED[how][1](each.resize((160, 160)), np.random.default_rng(n)) for n, each in enumerate(chests)
    ]
    assert codes(gate, bundle, pieces).count(None) <= 0.35 * COUNT


def test_card_has_the_gates_figures(bundle: Bundle) -> None:
    section = bundle.card["gate"]
    assert bundle.card["files"][FILE]["bytes"] < 100_000
    for name, figures in section["chests"].items():
        assert figures["share"] <= 0.005, name
        assert figures["share"] == pytest.approx(figures["turned_away"] / figures["n"], abs=1e-5)
        low, high = figures["share_ci"]
        assert 0 <= low <= figures["share"] <= high
        assert {"normal", "pneumonia"} <= {row["group"] for row in section["groups"] if row["set"] == name}
    assert {row["kind"] for row in section["never_trained_on"]} == NEVER_TRAINED_ON.keys()
    assert {*SPOILED} <= {row["kind"] for row in section["others"]}
    assert "Out of fold" in section["rule"]
