"""Fixtures of the training's tests: an untrained bundle and labelled phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom

IMAGES = 48


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an untrained bundle."""
    from tests.unit.training.tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def chests(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 22 normal images and 26 with pneumonia, two a patient, labelled mostly by their score.

    One label in eight is wrong, so that there are errors of both kinds.
    """
    root = tmp_path_factory.mktemp("set") / "chests"
    drawn = [write_phantom(root.parent / f"{n}.jpeg", n, width=96) for n in range(IMAGES)]
    bundle = load_bundle(tiny)
    inputs = np.stack([to_model_input(path.read_bytes(), bundle.side) for path in drawn])
    order = np.argsort(Classifier(bundle).predict_batch(inputs).p_pneumonia)
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / folder).mkdir(parents=True)
    for rank, index in enumerate(order):
        sick = (rank >= IMAGES // 2) != (rank % 8 == 3) or rank in {10, 12}
        name = f"person{rank // 2}_{'virus' if rank % 4 == 1 else 'bacteria'}_{rank}.jpeg"
        folder, name = ("PNEUMONIA", name) if sick else ("NORMAL", f"IM-{rank // 2:04}-{rank:04}.jpeg")
        drawn[index].rename(root / folder / name)
    return root
