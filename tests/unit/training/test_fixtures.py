"""The committed fixtures are what the code of `training` makes today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures import CARD, FEATURES_NETWORK, GATE_NETWORK, GATE_SECTION
from tests.fixtures.making import make_card, make_features_network, make_gate
from tests.gates import DEFECTS, with_defect
from training.gate.examples import seen
from training.gate.release import label_probabilities
from worker.inference.runtime import LiteRtRuntime
from worker.phantom import draw_phantom

REMEDY = "recreate them with: python -m tests.fixtures"


def test_the_fixture_card_is_what_training_makes() -> None:
    assert_like(json.loads(CARD.read_text()), json.loads(json.dumps(make_card())), "card")


def assert_like(committed: Any, made: Any, where: str) -> None:
    """Compare two JSON values, their numbers with the tolerance of another NumPy."""
    if isinstance(made, dict):
        assert committed.keys() == made.keys(), f"{where}: {REMEDY}"
        for key, value in made.items():
            assert_like(committed[key], value, f"{where}.{key}")
    elif isinstance(made, list):
        assert len(committed) == len(made), f"{where}: {REMEDY}"
        for place, value in enumerate(made):
            assert_like(committed[place], value, f"{where}[{place}]")
    else:
        same = pytest.approx(made, abs=1e-6) if isinstance(made, float) else made
        assert committed == same, f"{where}: {REMEDY}"


def test_the_fixture_gate_answers_as_one_made_today() -> None:
    made = make_gate()
    assert json.loads(GATE_SECTION.read_text()) == made.section
    chests = [draw_phantom(seed, width=160, height=160) for seed in range(4)]
    images = [*chests, *(with_defect(chest, code) for chest in chests for code in DEFECTS)]
    inputs = np.stack([seen(np.asarray(image)) for image in images])
    assert (
        np.abs(
            label_probabilities(GATE_NETWORK.read_bytes(), inputs) - label_probabilities(made.network, inputs)
        ).max()
        < 0.05
    )


def test_the_fixture_with_features_answers_as_one_made_today(tmp_path: Path) -> None:
    path = tmp_path / "made.tflite"
    path.write_bytes(make_features_network())
    inputs = np.random.default_rng(1).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    answers = [LiteRtRuntime(network).run_with_features(inputs) for network in (FEATURES_NETWORK, path)]
    for committed, made in zip(*answers, strict=True):
        assert np.abs(committed - made).max() < 0.05 * np.abs(committed).max()
