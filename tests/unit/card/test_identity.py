"""worker.card.identity: what a model is, and which models Nightread ships."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import SHIPPED, WHOLE_FILMS
from worker.card.identity import is_shipped, model_sha256, network_of
from worker.card.loading import load_card


@pytest.fixture
def card() -> dict[str, Any]:
    return load_card(WHOLE_FILMS)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["files"]["model.tflite"].update(sha256="0" * 64),
        lambda card: card["files"]["gate.tflite"].update(sha256="0" * 64),
        lambda card: card["files"].pop("gate.tflite"),
        lambda card: card["gate"].update(threshold=0.9),
        lambda card: card["input"].update(preprocessing_version="1"),
        lambda card: card["calibration"].update(temperature=2.0),
        lambda card: card["second_look"].update(low=0.4),
        lambda card: card.pop("second_look"),
    ],
    ids=[
        "network",
        "gate",
        "no gate",
        "gate's threshold",
        "preprocessing",
        "temperature",
        "second look",
        "no second look",
    ],
)
def test_another_part_is_another_model(
    card: dict[str, Any], change: Callable[[dict[str, Any]], object]
) -> None:
    changed = copy.deepcopy(card)
    change(changed)
    assert model_sha256(changed) != model_sha256(card)
    assert not is_shipped(model_sha256(changed), changed)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_shipped_bundles_are_known(folder: Path) -> None:
    """After a change of a card, enter its `card_sha256` in `SHIPPED`."""
    card = load_card(folder)
    assert is_shipped(model_sha256(card), card)


def test_shipped_model_with_another_threshold_is_not_verified(card: dict[str, Any]) -> None:
    before = model_sha256(card)
    card["operating_points"]["balanced"]["threshold"] = 0.99
    assert model_sha256(card) == before
    assert not is_shipped(before, card)


def test_network_of_an_earlier_model_is_its_identity(card: dict[str, Any]) -> None:
    assert network_of("a" * 64, {}) == "a" * 64
    assert network_of(model_sha256(card), card) == card["files"]["model.tflite"]["sha256"]


def test_distance_is_part_of_the_model_that_has_one(card: dict[str, Any]) -> None:
    before = model_sha256(card)
    card["distance"] = {"limit": 10.0}
    assert model_sha256(card) == before, "without its file, nothing is measured"
    card["files"]["distance.npz"] = {"sha256": "d" * 64}
    with_distance = model_sha256(card)
    card["distance"]["limit"] = 11.0
    with_limit = model_sha256(card)
    card["distance"]["rule"] = "for people"
    assert model_sha256(card) == with_limit
    card["files"]["distance.npz"] = {"sha256": "e" * 64}
    assert len({before, with_distance, with_limit, model_sha256(card)}) == 4
