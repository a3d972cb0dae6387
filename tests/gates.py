"""A gate that is good enough for phantoms, and images that it rejects."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from PIL import Image, ImageOps

from tests.fixtures import GATE_NETWORK, GATE_SECTION
from worker.card.loading import CARD
from worker.config import Settings
from worker.inference.gate import FILE, SECTION

# Rejection code -> clockwise rotation in degrees.
DEFECTS = {"inverted": 0, "turned_right": 90, "turned_left": 270, "upside_down": 180}


def with_defect(image: Image.Image, code: str) -> Image.Image:
    """Return an inverted or rotated copy that the gate must reject with this code."""
    return ImageOps.invert(image) if code == "inverted" else image.rotate(-DEFECTS[code])


def gated_bundle(folder: Path) -> Path:
    """Copy the default bundle to `folder`, with the gate for tests."""
    ungated_bundle(folder)
    shutil.copyfile(GATE_NETWORK, folder / FILE)
    card = json.loads((folder / CARD).read_text())
    card[SECTION] = json.loads(GATE_SECTION.read_text())
    content = GATE_NETWORK.read_bytes()
    card["files"][FILE] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / CARD).write_text(json.dumps(card))
    return folder


def ungated_bundle(folder: Path, source: Path | None = None) -> Path:
    """Copy a bundle (None: the default one) to `folder`, without its gate."""
    shutil.copytree(source or Settings().model, folder)
    card = json.loads((folder / CARD).read_text())
    card.pop(SECTION, None)
    card["files"].pop(FILE, None)
    (folder / FILE).unlink(missing_ok=True)
    (folder / CARD).write_text(json.dumps(card))
    return folder
