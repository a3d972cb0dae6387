"""The whole path: the commands train a tiny network on phantoms, export it and measure it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.fixtures.making import make_gate
from tests.unit.training.eager import eagerly
from tests.unit.training.tiny_recipe import tiny_recipe
from training import cli
from training.baseline.speed import main as seed_speed
from training.gate.release import add_to_bundle
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.gate import open_gate
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom

TINY = tiny_recipe(
    "nightread",
    """
[augment]
side = 40

[stress]
side = 40
""",
)
GATE = """
[gate]
images = 60
phantoms = 2
drawings = 1
widths = [4, 4, 4, 8]
epochs = 1
batch_size = 16
"""
METRICS = (
    "auc", "accuracy", "precision", "recall", "specificity", "f1", "sensitivity_at_specificity_90",
    "specificity_at_sensitivity_95", "ece", "brier", "three_class_accuracy",
)  # fmt: skip


@pytest.fixture(scope="session")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write sixty phantoms in Kaggle's folders: plain ones are normal, those with an opacity show pneumonia."""
    root = tmp_path_factory.mktemp("kaggle")
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / "train" / folder).mkdir(parents=True)
    for n in range(24):
        write_phantom(root / "train" / "NORMAL" / f"IM-{n // 2:04}-{n:04}.jpeg", n, width=96, opacity=False)
    for n in range(36):
        name = f"person{n // 2}_{'virus' if n % 6 < 2 else 'bacteria'}_{n}.jpeg"
        write_phantom(root / "train" / "PNEUMONIA" / name, 100 + n, width=96, opacity=True)
    return root


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the shipped recipe with a tiny network."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def trained(kaggle: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one epoch with `nightread train`."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    arguments = ("--recipe", recipe, "--data", kaggle, "--out", out, "--epochs", 1, "--cpu-limit", 90)
    done = run(cli.train, *arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "epoch 1/1" in done.stderr
    assert "min left" in done.stderr
    assert "a trial run fits no gate" in done.stderr
    return out


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_bundle_is_complete_and_marked_preliminary(trained: Path) -> None:
    names = {"model.tflite", "model.keras", "card.json", "README.md", "roc.png", "reliability.png",
        "history.png", "history.csv",
    }  # fmt: skip
    assert {path.name for path in trained.iterdir()} == names
    card = load_bundle(trained, "tensorflow").card
    assert card["preliminary"] is True
    assert card["training"]["images"] == card["metrics"]["children"]["n"] == 60
    assert card["metrics"]["children_stressed"]["n"] == 2 * 60
    assert card["metrics"]["children_restyled"]["n"] == 60
    assert len(card["spread"]["children"]["auc"]["values"]) == 2
    assert card["metrics"]["quantisation"]["images"] == 30
    assert card["recipe"]["network"]["side"] == 32
    assert str(trained.parent.parent) not in json.dumps(card)


def test_model_is_tuned_further_on_another_folder(trained: Path, kaggle: Path, tmp_path: Path) -> None:
    gated, out = tmp_path / "gated", tmp_path / "own"
    shutil.copytree(trained, gated)
    add_to_bundle(gated, make_gate())
    arguments = ("--recipe", "fine-tune", "--from", gated, "--data", kaggle / "train", "--out", out)
    with eagerly():
        done = run(cli.train, *arguments, "--epochs", 1)
    assert done.exit_code == 0, done.output
    card = load_bundle(out).card
    assert card["name"] == "fine-tuned"
    assert card["gate"] == load_bundle(gated).card["gate"]
    assert card["metrics"]["own_images"]["n"] == 60
    assert card["recipe"]["network"] == load_bundle(trained).card["recipe"]["network"]
    assert load_bundle(out).sha256 != load_bundle(trained).sha256


def test_tuning_recipe_requires_a_start_model(kaggle: Path, tmp_path: Path) -> None:
    done = run(cli.train, "--recipe", "fine-tune", "--data", kaggle, "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "--from" in done.stderr


def test_whole_training_fits_a_gate(
    trained: Path, kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reuses the networks of the trial run."""
    monkeypatch.setattr("training.gate.release._NEVER_SEEN", 3)
    out, recipe = tmp_path / "whole", tmp_path / "whole.toml"
    shutil.copytree(trained.with_name(f"{trained.name}-work"), tmp_path / "whole-work")
    recipe.write_text(TINY.replace("batch_size = 8", "batch_size = 8\nepochs = 1") + GATE)
    with eagerly():
        done = run(cli.train, "--recipe", recipe, "--data", kaggle, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("exists already") == 4  # two folds, the last, and the first fold again
    bundle = load_bundle(out)
    assert not bundle.card["preliminary"]
    assert bundle.card["gate"]["chests"]["children"]["n"] == 60
    open_gate(out, bundle.card).codes(np.zeros((1, 64, 64), np.uint8))


def test_card_has_the_effects_of_the_second_look(trained: Path) -> None:
    bundle = load_bundle(trained)
    assert bundle.second_look is not None
    said = bundle.card["second_look"]
    assert (said["low"], said["high"]) == (bundle.second_look.low, bundle.second_look.high)
    assert said["views"] == ["mirrored", "enlarged"]
    measured = said["children_stressed"]
    assert 0 < measured["looked_at_again"] < 1
    assert measured["auc"] == pytest.approx(bundle.card["metrics"]["children_stressed"]["auc"])
    assert measured["auc_at_first"] != measured["auc"]


def test_exported_network_is_int8_and_matches_its_reference(trained: Path, kaggle: Path) -> None:
    bundle = load_bundle(trained)
    paths = sorted(kaggle.rglob("*.jpeg"))[::3]
    inputs = np.stack([to_model_input(path.read_bytes(), bundle.side) for path in paths])
    served = Classifier(bundle).predict_batch(inputs)
    reference = Classifier(bundle, "tensorflow").predict_batch(inputs)
    assert np.abs(served.probabilities - reference.probabilities).max() < 0.05
    keras_bytes, tflite_bytes = (bundle.file(name).stat().st_size for name in ("tensorflow", "litert"))
    assert tflite_bytes < 0.6 * keras_bytes
    assert served.activation.shape == (len(paths), 2, 2)


def test_evaluate_prints_one_document_with_every_key(trained: Path, kaggle: Path) -> None:
    done = run(cli.evaluate, "--bundle", trained, "--data", kaggle / "train", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["n"] == 60
    assert document["turned_away"] == 0
    assert sum(document["confusion"].values()) == 60
    assert sum(document["verdicts"].values()) == 60
    assert document["operating_point"]["name"] == "balanced"
    assert document["subgroups"] == {}
    for name in METRICS:
        low, high = document[f"{name}_ci"]
        assert document[name] is not None
        assert 0 <= low <= high <= 1


def test_training_without_images_is_an_error(tmp_path: Path) -> None:
    done = run(cli.train, "--data", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "not a data set" in done.stderr
    assert not (tmp_path / "out").exists()


def test_export_reproduces_the_file(trained: Path, kaggle: Path, tmp_path: Path) -> None:
    arguments = (
        "--bundle",
        trained,
        "--format",
        "int8",
        "--data",
        kaggle,
        "--out",
        tmp_path / "again.tflite",
    )
    done = run(cli.export, *arguments)
    assert done.exit_code == 0, done.output
    assert "The file equals the bundle's model.tflite." in done.stderr
    assert (tmp_path / "again.tflite").read_bytes() == (trained / "model.tflite").read_bytes()


def test_replaced_application_is_timed(kaggle: Path) -> None:
    done = run(seed_speed, "--images", kaggle, "--count", 3, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["images_per_s"] > 0
