"""Further model bundles for tests: the shipped network with another temperature is another model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from tests.fixtures import LUNG_NETWORK
from worker.card.identity import LUNGS, model_sha256
from worker.card.loading import CARD
from worker.config import Settings
from worker.inference.preprocess import LUNGS_ALONE


def recalibrated(folder: Path, *, temperature: float = 2.5, version: str = "9.0.0") -> str:
    """Copy the default bundle to `folder`, with another temperature, and return the identity of this model."""
    shutil.copytree(Settings().model, folder)
    card = json.loads((folder / CARD).read_text())
    card["version"] = version
    card["calibration"]["temperature"] = temperature
    (folder / CARD).write_text(json.dumps(card))
    return model_sha256(card)


def with_lungs(folder: Path, *, margin: float = 0.06, least_area: float = 0.05) -> Path:
    """Copy the default bundle to `folder`, with a lung network: its scores mean nothing, for it learned from whole films."""
    shutil.copytree(Settings().model, folder)
    content = LUNG_NETWORK.read_bytes()
    (folder / LUNGS).write_bytes(content)
    card = json.loads((folder / CARD).read_text())
    card["input"]["preprocessing_version"] = LUNGS_ALONE
    card["files"][LUNGS] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    card["lungs"] = {"margin": margin, "least_area": least_area}
    (folder / CARD).write_text(json.dumps(card))
    return folder
