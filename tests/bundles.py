"""Further model bundles for tests: the shipped network with another temperature is another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from worker.card.identity import model_sha256
from worker.card.loading import CARD
from worker.config import Settings


def recalibrated(folder: Path, *, temperature: float = 2.5, version: str = "9.0.0") -> str:
    """Copy the default bundle to `folder`, with another temperature, and return the identity of this model."""
    shutil.copytree(Settings().model, folder)
    card = json.loads((folder / CARD).read_text())
    card["version"] = version
    card["calibration"]["temperature"] = temperature
    (folder / CARD).write_text(json.dumps(card))
    return model_sha256(card)
