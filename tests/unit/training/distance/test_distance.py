"""training.distance.fit: the fit of the distance from the training data, and its limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from training import cli
from training.distance.fit import fit_reference
from training.errors import WrongInput
from training.recipe import load_recipe
from worker.card.identity import DISTANCE
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom

RECIPE = """
base = "nightread"

[model]
name = "tiny"
version = "0.0.1"

[network]
side = 32
stem = 8
stages = [
  { blocks = 1, kernel = 3, stride = 2, expand = 1, width = 8 },
  { blocks = 1, kernel = 3, stride = 2, expand = 2, width = 12 },
]
dropout = 0.1
pretrained = "none"

[split]
folds = 2

[fit]
batch_size = 8

[augment]
side = 40

[stress]
side = 40
variants = 1

[distance]
shrinkage = 0.2
beyond = 0.1
"""


def test_distance_of_the_training_images_is_about_the_root_of_their_width() -> None:
    """Whitened features have a variance of 1 in each of 10 directions."""
    rng = np.random.default_rng(4)
    mixing, means = rng.normal(0, 300, (10, 10)), rng.normal(0, 4_000, (3, 10))
    classes = rng.integers(0, 3, 4_000)
    sums = np.rint(means[classes] + rng.normal(size=(4_000, 10)) @ mixing)
    reference = fit_reference(sums, classes, 1.0, shrinkage=1e-6)
    distances = reference.measure(sums[:, np.newaxis, np.newaxis, :].astype(np.float32))
    assert np.mean(distances**2) == pytest.approx(10, rel=0.05)
    elsewhere = (means.mean(axis=0) + 40 * mixing[:, 0])[np.newaxis, np.newaxis, np.newaxis, :]
    assert reference.measure(elsewhere.astype(np.float32))[0] > 2 * distances.max()


def test_shrinkage_keeps_directions_without_variance_from_being_infinitely_far() -> None:
    sums = np.zeros((50, 3))
    sums[:, 0] = np.arange(50) * 100
    reference = fit_reference(sums, np.zeros(50, dtype=np.int64), 1.0, shrinkage=0.3)
    beside = np.array([[[[2_450.0, 0.0, 500.0]]]], dtype=np.float32)
    assert 0.1 < reference.measure(beside)[0] < 10


def test_images_with_the_same_features_have_no_distance() -> None:
    with pytest.raises(WrongInput, match=r"features of all images are the same"):
        fit_reference(np.full((9, 4), 7.0), np.zeros(9, dtype=np.int64), 1.0, shrinkage=0.3)


def test_recipe_of_the_next_model_measures_a_distance_and_that_of_the_shipped_one_does_not() -> None:
    assert load_recipe("lungs").distance is not None
    assert load_recipe("nightread").distance is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one epoch on forty phantoms with `nightread train`, beside a table of eight."""
    root = tmp_path_factory.mktemp("distance")
    lines = ["file,label,patient_id"]
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / "set" / folder).mkdir(parents=True)
    for n in range(20):
        write_phantom(root / "set" / "NORMAL" / f"IM-{n:04}-{n:04}.jpeg", n, width=96, opacity=False)
        kind = "virus" if n % 2 else "bacteria"
        name = f"person{n}_{kind}_{n}.jpeg"
        write_phantom(root / "set" / "PNEUMONIA" / name, 100 + n, width=96, opacity=True)
    for n in range(8):
        write_phantom(root / f"{n}.jpeg", 200 + n, width=96, opacity=n % 2 == 0)
        lines.append(f"{n}.jpeg,{'PNEUMONIA' if n % 2 == 0 else 'NORMAL'},{n}")
    (root / "table.csv").write_text("\n".join(lines))
    (root / "tiny.toml").write_text(RECIPE)
    arguments = ("--recipe", root / "tiny.toml", "--data", root / "set", "--table", root / "table.csv")
    out = root / "tiny"
    done = CliRunner().invoke(cli.train, [*map(str, (*arguments, "--out", out, "--epochs", 1))])
    assert done.exit_code == 0, done.output
    return out


def test_training_adds_the_distance_to_the_bundle(trained: Path) -> None:
    bundle = load_bundle(trained)
    section = bundle.card["distance"]
    sets = {f"{who}{how}" for who in ("children", "adults") for how in ("", "_stressed", "_restyled")}
    assert section["beyond"].keys() == sets
    assert section["beyond"]["children"] == pytest.approx(0.1, abs=0.03)
    assert section["auc"].keys() == {name for name in sets if name.startswith("adults")}
    assert bundle.card["files"][DISTANCE]["bytes"] > 0
    assert bundle.card["recipe"]["distance"] == {"shrinkage": 0.2, "beyond": 0.1}
    page = (trained / "README.md").read_text(encoding="utf-8")
    assert DISTANCE in page
    assert "distance from the training data" in page.lower()
    assert "share beyond the limit, adults restyled" in page.lower()


def test_trained_bundle_measures_phantoms_as_near_and_noise_as_far(trained: Path, tmp_path: Path) -> None:
    bundle = load_bundle(trained)
    chest = write_phantom(tmp_path / "new.jpeg", 77, width=96)
    noise = np.random.default_rng(1).integers(0, 256, (bundle.side, bundle.side), dtype=np.uint8)
    inputs = np.stack([to_model_input(chest.read_bytes(), bundle.side), noise])
    distance = Classifier(bundle).predict_batch(inputs).distance
    assert distance is not None
    assert distance[0] < 1.5
    assert distance[1] > 2
    reference = Classifier(load_bundle(trained, "tensorflow"), "tensorflow").predict_batch(inputs).distance
    assert reference is not None
    assert np.abs(reference / distance - 1).max() < 0.3


def test_same_command_again_writes_the_same_bundle(trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    root = trained.parent
    arguments = ("--recipe", root / "tiny.toml", "--data", root / "set", "--table", root / "table.csv")
    done = CliRunner().invoke(cli.train, [*map(str, (*arguments, "--out", trained, "--epochs", 1))])
    assert done.exit_code == 0, done.output
    assert "exists already" in done.output
    for name in ("model.tflite", DISTANCE):
        assert (trained / name).read_bytes() == before[name]
    assert json.loads(before["card.json"])["distance"] == load_bundle(trained).card["distance"]
