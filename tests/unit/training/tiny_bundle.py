"""An untrained bundle: three convolutions with random weights, made in seconds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from training.export.litert import to_int8
from worker.inference.bundle import LABELS
from worker.inference.gate import FILE, FRONTAL, SECTION
from worker.inference.preprocess import FILM_ALONE

SIDE = 32
# Half of the drawn phantoms score above it.
THRESHOLD = 0.747
_SPREAD = 25.0


def write_tiny_bundle(folder: Path, threshold: float = THRESHOLD) -> Path:
    """Write card and network; `balanced` has this threshold."""
    folder.mkdir()
    model, noise = _network()
    content = to_int8(model, noise)
    (folder / "model.tflite").write_bytes(content)
    card = {
        "card_version": 1,
        "name": "tiny",
        "version": "0.0.1",
        "intended_use": "To be measured in tests.",
        "limits": ["It was never trained."],
        "labels": list(LABELS),
        "input": {"side": SIDE, "preprocessing_version": FILM_ALONE},
        "calibration": {"temperature": 1.0, "rule": "None at all."},
        "operating_points": {
            "screen": _point(threshold - 0.07, threshold - 0.07, threshold),
            "balanced": _point(threshold, threshold - 0.07, threshold + 0.1),
            "rule-in": _point(threshold + 0.1, threshold, threshold + 0.1),
        },
        "default_operating_point": "balanced",
        "files": {"model.tflite": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def add_gate(folder: Path) -> None:
    """Add a gate that rejects everything to a bundle."""
    grey = keras.Input((SIDE, SIDE, 1))
    model = keras.Model(grey, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(grey)))
    model.set_weights([np.zeros((1, 2)), np.array([-3.0, 3.0])])
    content = to_int8(model, np.full((4, SIDE, SIDE), 128, dtype=np.uint8))
    (folder / FILE).write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    card["files"][FILE] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    card[SECTION] = {"labels": [FRONTAL, "not_a_chest"], "side": SIDE, "threshold": 0.5}
    (folder / "card.json").write_text(json.dumps(card))


def _point(threshold: float, low: float, high: float) -> dict[str, float]:
    return {"threshold": threshold, "band_low": low, "band_high": high}


def _network() -> tuple[keras.Model, NDArray[np.uint8]]:
    layers, rng = keras.layers, np.random.default_rng(12)
    grey = keras.Input((SIDE, SIDE, 1))
    x = layers.Rescaling(1 / 255)(grey)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)
    model = keras.Model(grey, layers.Conv2D(3, 1)(x))
    model.set_weights(
        [
            rng.standard_normal(get_weight.shape) / np.sqrt(get_weight.size) * 2
            for get_weight in model.get_weights()
        ]
    )
    head = model.layers[-1]
    kernel, bias = head.get_weights()
    # Subtracting the mean over many images puts the scores on both sides of one half.
    noise = rng.integers(0, 256, (64, SIDE, SIDE), dtype=np.uint8)
    head.set_weights([_SPREAD * kernel, bias])
    mean = np.asarray(model(noise[..., np.newaxis].astype(np.float32))).mean(axis=(0, 1, 2))
    head.set_weights([_SPREAD * kernel, bias - mean])
    return model, noise
