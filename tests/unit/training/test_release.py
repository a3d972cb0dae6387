"""The whole way, for real: a tiny network is trained on phantoms, exported and measured by the commands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from training import cli
from training.architectures import multiply_adds, plain_residual, pooled, seed_cnn
from training.seed_speed import main as seed_speed
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom

TINY = """
[model]
name = "tiny"
version = "0.0.1"
architecture = "plain_residual"
side = 32
widths = [8, 8, 8, 16]
dropout = 0.1
"""
METRICS = (
    "auc", "accuracy", "precision", "recall", "specificity", "f1", "sensitivity_at_specificity_90",
    "specificity_at_sensitivity_95", "ece", "brier", "three_class_accuracy",
)  # fmt: skip


@pytest.fixture(scope="session")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty phantoms in Kaggle's folders: plain ones are normal, those with an opacity pneumonia."""
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
    """The shipped recipe with a tiny network."""
    shipped = (Path(cli.__file__).parent / "recipes" / "nightread.toml").read_text()
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    rest = shipped[shipped.index("[split]") :].replace("batch_size = 64", "batch_size = 8")
    path.write_text(TINY + rest.replace("side = 160", "side = 40"))
    return path


@pytest.fixture(scope="session")
def trained(kaggle: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of one epoch, written by `nightread train`."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    done = run(cli.train, "--recipe", recipe, "--data", kaggle, "--out", out, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "epoch 1/1" in done.stderr
    assert "min left" in done.stderr
    return out


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments])


def test_a_bundle_is_complete_and_says_that_it_is_preliminary(trained: Path) -> None:
    names = {"model.tflite", "model.keras", "card.json", "roc.png", "reliability.png"}
    assert {path.name for path in trained.iterdir()} == names
    card = load_bundle(trained, "tensorflow").card
    assert card["preliminary"] is True
    assert card["training"]["images"] + card["metrics"]["held_out"]["n"] == 60
    assert card["metrics"]["held_out_stressed"]["n"] == 4 * card["metrics"]["held_out"]["n"]
    assert len(card["training"]["history"]) == 1
    assert str(trained.parent.parent) not in json.dumps(card)


def test_the_exported_network_is_int8_and_agrees_with_its_reference(trained: Path, kaggle: Path) -> None:
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


def test_evaluate_uses_the_bundles_own_operating_point(trained: Path, kaggle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "bundle"))
    card = json.loads((folder / "card.json").read_text())
    inputs = {path: to_model_input(path.read_bytes(), 32) for path in sorted(kaggle.rglob("*.jpeg"))}
    scores = Classifier(load_bundle(folder)).predict_batch(np.stack(list(inputs.values())))
    threshold = float(np.median(scores.p_pneumonia))
    card["operating_points"]["mine"] = {"threshold": threshold, "band_low": 0.0, "band_high": 1.0}
    card["default_operating_point"] = "mine"
    (folder / "card.json").write_text(json.dumps(card))
    done = run(cli.evaluate, "--bundle", folder, "--data", kaggle / "train", "--json")
    document = json.loads(done.stdout)
    called = scores.p_pneumonia >= threshold
    sick = np.array([path.parent.name == "PNEUMONIA" for path in inputs])
    assert document["operating_point"] == {"name": "mine", **card["operating_points"]["mine"]}
    assert document["confusion"]["true_positive"] == (called & sick).sum()
    assert document["accuracy"] == pytest.approx((called == sick).mean())
    assert document["verdicts"] == {"flagged": 0, "uncertain": 60, "clear": 0}


def test_evaluate_reads_a_table_and_keeps_small_groups_to_itself(
    trained: Path, kaggle: Path, tmp_path: Path
) -> None:
    paths = sorted(kaggle.rglob("*.jpeg"))
    table = tmp_path / "table.csv"
    (tmp_path / "cut.jpg").write_bytes(paths[0].read_bytes()[:700])
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "age_years", "sex", "view", "patient_id"])
        for n, path in enumerate(paths):
            label = "normal" if path.parent.name == "NORMAL" else "pneumonia"
            rows.writerow([path, label, 10 + n, "F" if n % 2 else "M", "PA" if n < 50 else "AP", n // 2])
        rows.writerow([tmp_path / "cut.jpg", "normal", "", "", "", ""])
    done = run(cli.evaluate, "--bundle", trained, "--table", table, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["n"], document["turned_away"]) == (60, 1)
    assert document["turned_away_reasons"] == {"truncated": 1}
    assert document["three_class_accuracy"] is None
    groups = document["subgroups"]
    assert set(groups["sex"]) == {"F", "M"}
    assert groups["view"]["AP"] == {"n": 10, "suppressed": True}
    assert groups["age"]["0-17"] == {"n": 8, "suppressed": True}
    assert groups["age"]["18-39"]["n"] == 22
    assert groups["sex"]["F"]["auc_ci"][0] <= groups["sex"]["F"]["auc"]


def test_evaluate_prints_a_table_for_people(trained: Path, kaggle: Path) -> None:
    done = run(cli.evaluate, "--bundle", trained, "--data", kaggle / "train")
    assert done.exit_code == 0
    for name in METRICS:
        assert name in done.stdout
    assert "true positive" in done.stdout


def test_evaluate_gives_the_same_document_twice(trained: Path, kaggle: Path) -> None:
    arguments = ("--bundle", trained, "--data", kaggle / "train", "--json")
    assert run(cli.evaluate, *arguments).stdout == run(cli.evaluate, *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bundle", "{trained}", "--data", "{tmp}/nowhere"), "has no folder NORMAL"),
        (("--bundle", "{tmp}/nowhere", "--data", "{kaggle}/train"), "There is no model folder"),
        (("--bundle", "{trained}", "--table", "{tmp}/no.csv"), "There is no table"),
        (("--bundle", "{trained}"), "Give either --data or --table"),
        (("--bundle", "{trained}", "--data", "{kaggle}/train", "--table", "x.csv"), "Give either"),
    ],
)
def test_wrong_use_gets_a_sentence_and_exit_code_2(
    trained: Path, kaggle: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    given = [each.format(trained=trained, kaggle=kaggle, tmp=tmp_path) for each in arguments]
    done = run(cli.evaluate, *given, "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_training_on_nothing_gets_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = run(cli.train, "--data", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "not a data set" in done.stderr
    assert not (tmp_path / "out").exists()


def test_export_makes_the_same_model_again(trained: Path, kaggle: Path, tmp_path: Path) -> None:
    done = run(cli.export, "--bundle", trained, "--data", kaggle, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    first, second = load_bundle(trained), load_bundle(tmp_path / "again")
    assert second.sha256 == first.sha256
    assert second.operating_points == first.operating_points


def test_the_shipped_network_is_small_enough() -> None:
    model = plain_residual(128, (16, 32, 72, 144), 0.2)
    assert 0.5e6 < model.count_params() < 1.5e6
    assert multiply_adds(model) < 110e6


def test_the_evidence_of_the_places_averages_to_the_logits() -> None:
    model = plain_residual(32, (8, 8, 8, 16), 0.0)
    grey = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    logits = keras.ops.convert_to_numpy(pooled(model)(grey))
    evidence = keras.ops.convert_to_numpy(model(grey))
    assert evidence.mean(axis=(1, 2)) == pytest.approx(logits, abs=1e-5)


def test_the_replaced_application_is_timed_as_it_was(kaggle: Path) -> None:
    assert [tuple(layer.kernel.shape) for layer in seed_cnn().layers if hasattr(layer, "kernel")] == [
        (3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (14 * 14 * 128, 256), (256, 1),
    ]  # fmt: skip
    done = run(seed_speed, "--images", kaggle, "--count", 3, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["images_per_s"] > 0
