"""The shipped model bundles, and further ones for tests: the network with another temperature is another model."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np

from tests.fixtures import FEATURES_NETWORK, LUNG_NETWORK
from worker.card.identity import DISTANCE, LUNGS, NETWORK, model_sha256
from worker.card.loading import CARD, load_card
from worker.config import ROOT, Settings
from worker.inference.bundle import FILM_FILES, RUNTIME_FILES
from worker.inference.distance import FINENESS, Reference
from worker.inference.preprocess import LUNGS_ALONE

# The folders of all shipped bundles, in the order of their names. `Settings().model` is the default one.
SHIPPED = sorted(path.parent for path in (ROOT / "models").glob(f"*/{CARD}"))
# A shipped bundle with preprocessing 2: it scores whole films, and says no distance.
WHOLE_FILMS = ROOT / "models" / "nightread-0.2.0"


def identity(folder: Path) -> str:
    """Return the identity of the model in a folder."""
    return model_sha256(load_card(folder))


def recalibrated(folder: Path, *, temperature: float = 2.5, version: str = "9.0.0") -> str:
    """Copy the default bundle to `folder`, with another temperature, and return the identity of this model."""
    shutil.copytree(Settings().model, folder)
    card = json.loads((folder / CARD).read_text())
    card["version"] = version
    card["calibration"]["temperature"] = temperature
    (folder / CARD).write_text(json.dumps(card))
    return model_sha256(card)


def with_lungs(folder: Path, *, margin: float = 0.06, least_area: float = 0.05) -> Path:
    """Copy a bundle to `folder`, with a lung network: its scores mean nothing, for it learned from whole films."""
    shutil.copytree(WHOLE_FILMS, folder)
    content = LUNG_NETWORK.read_bytes()
    (folder / LUNGS).write_bytes(content)
    card = json.loads((folder / CARD).read_text())
    card["input"]["preprocessing_version"] = LUNGS_ALONE
    card["files"][LUNGS] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    card["lungs"] = {"margin": margin, "least_area": least_area}
    (folder / CARD).write_text(json.dumps(card))
    return folder


def with_film(folder: Path) -> Path:
    """Copy a bundle to `folder`, with a lung network, and with its own network as the film network, too."""
    with_lungs(folder)
    card = json.loads((folder / CARD).read_text())
    for runtime, name in FILM_FILES.items():
        shutil.copy(folder / RUNTIME_FILES[runtime], folder / name)
        card["files"][name] = card["files"][RUNTIME_FILES[runtime]]
    (folder / CARD).write_text(json.dumps(card))
    return folder


def with_distance(folder: Path, *, limit: float, base: Path | None = None) -> Path:
    """Copy a bundle, by default one with preprocessing 2, to `folder`, with a distance from the training data.

    The network is a small one with random weights. All of its scores are clear unless something forbids it. The distances of
    phantoms are 140 to 150 standard deviations.
    """
    shutil.copytree(base or WHOLE_FILMS, folder)
    (folder / NETWORK).write_bytes(FEATURES_NETWORK.read_bytes())
    channels = 12
    whitening = np.eye(channels, dtype=np.int64) << (FINENESS - 6)
    Reference(1 / 64, np.zeros((1, channels), np.int64), whitening).save(folder / DISTANCE)
    card = json.loads((folder / CARD).read_text())
    for name in (NETWORK, DISTANCE):
        content = (folder / name).read_bytes()
        card["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    card["distance"] = {"limit": limit}
    for point in card["operating_points"].values():
        point |= {"threshold": 1.0, "band_low": 1.0, "band_high": 1.0}
    (folder / CARD).write_text(json.dumps(card))
    return folder


def with_outputs_swapped(folder: Path) -> Path:
    """Swap the order of the two outputs of a network of `with_distance`. What they are called stays."""
    before, after = (struct.pack("<3i", 2, *outputs) for outputs in ((19, 17), (17, 19)))
    content = (folder / NETWORK).read_bytes()
    assert content.count(before) == 1
    (folder / NETWORK).write_bytes(content.replace(before, after))
    card = json.loads((folder / CARD).read_text())
    card["files"][NETWORK]["sha256"] = hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps(card))
    return folder
