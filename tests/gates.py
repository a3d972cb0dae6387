"""A gate for tests that is good enough for phantoms: least squares on 8 x 8 means, quantised as a real one."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.export.litert import to_int8
from training.gate.examples import LABELS, NETWORK_SIDE, seen
from training.gate.negatives import SPOILED, noise
from training.gate.release import GatePart, add_to_bundle
from training.gate.volume import lateral
from worker.card.loading import CARD
from worker.config import Settings
from worker.inference.gate import FILE, SECTION
from worker.phantom import draw_phantom

_BLOCK, _SHARPNESS, _RIDGE = 8, 14.0, 1.0
_LEARNT_FROM = range(5000, 5030)
TURNED = {
    "inverted": "inverted",
    "turned_right": "turned right",
    "turned_left": "turned left",
    "upside_down": "upside down",
}


def spoiled(image: Image.Image, code: str) -> Image.Image:
    """A picture that deserves this code."""
    if code == "inverted":
        # Training's own change turns one in eight as well.
        return ImageOps.invert(image)
    return SPOILED[TURNED[code]][1](image, np.random.default_rng(0))


def gated_bundle(folder: Path) -> Path:
    """The default bundle with the gate of the tests."""
    add_to_bundle(ungated_bundle(folder), small_gate())
    return folder


def ungated_bundle(folder: Path) -> Path:
    """The default bundle without a gate."""
    shutil.copytree(Settings().model, folder)
    card = json.loads((folder / CARD).read_text())
    card.pop(SECTION, None)
    card["files"].pop(FILE, None)
    (folder / FILE).unlink(missing_ok=True)
    (folder / CARD).write_text(json.dumps(card))
    return folder


@cache
def small_gate() -> GatePart:
    """What `training.gate.release.fit_gate` gives, made in a second or two."""
    inputs, labels = _examples()
    weights = _least_squares(_means(inputs), np.eye(len(LABELS))[labels])
    grey = keras.Input((NETWORK_SIDE, NETWORK_SIDE, 1), name="grey")
    means = layers.Flatten()(layers.AveragePooling2D(_BLOCK)(layers.Rescaling(1 / 255)(grey)))
    model = keras.Model(grey, layers.Dense(len(LABELS), name="logits")(means))
    model.get_layer("logits").set_weights([_SHARPNESS * weights[:-1], _SHARPNESS * weights[-1]])
    section = {"labels": list(LABELS), "side": NETWORK_SIDE, "threshold": 0.6}
    return GatePart(to_int8(model, inputs[::2]), section)


def _examples() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    found: list[tuple[NDArray[np.uint8], str]] = []
    for seed in _LEARNT_FROM:
        chest, rng = draw_phantom(seed, width=160, height=160), np.random.default_rng(seed)
        found += [(np.asarray(chest), "frontal"), (lateral(rng), "lateral"), (noise(rng), "not_a_chest")]
        found += [(np.asarray(spoiled(chest, code)), code) for code in TURNED]
    inputs = np.stack([seen(grey) for grey, _ in found])
    return inputs, np.array([LABELS.index(label) for _, label in found])


def _means(inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    cells = NETWORK_SIDE // _BLOCK
    blocks = inputs.reshape(-1, cells, _BLOCK, cells, _BLOCK).mean(axis=(2, 4)) / 255
    return np.column_stack([blocks.reshape(len(inputs), -1), np.ones(len(inputs))])


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
    return np.asarray(weights, dtype=np.float64)
