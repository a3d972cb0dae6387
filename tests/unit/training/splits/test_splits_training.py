"""A whole training with splits: killed and resumed, and what its card says."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tests.bundles import with_lungs
from tests.conftest import wait_for
from tests.unit.training.eager import eagerly
from tests.unit.training.tiny_recipe import tiny_recipe
from training import cli
from training.fit.callbacks import STATE
from worker.card.reading import lowest, read_card, splits
from worker.config import ROOT
from worker.inference.bundle import load_bundle
from worker.phantom import write_phantom

NAMES = ("early_numbers", "shortcut_lies", "framing_lies")
CONDITIONS = ("plain", "stressed", "restyled")
REFERENCES = ("model.keras", "film.keras")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command that lacks only the folder of the bundle to write."""
    root = tmp_path_factory.mktemp("splits")
    recipe = root / "tiny.toml"
    recipe.write_text(tiny_recipe("lungs"))
    for folder in ("NORMAL", "PNEUMONIA"):
        (root / "images" / folder).mkdir(parents=True)
    for n in range(24):
        normal, sick = f"IM-{n // 2:04}-{n:04}.jpeg", f"person{n // 2}_bacteria_{n}.jpeg"
        write_phantom(root / "images" / "NORMAL" / normal, n, width=200, opacity=False)
        write_phantom(root / "images" / "PNEUMONIA" / sick, 100 + n, width=200, opacity=True)
    bundle = with_lungs(root / "lungs")
    module = "tests.unit.training.splits.splits_training"
    return [sys.executable, "-m", module, str(recipe), str(root / "images"), str(bundle)]


@pytest.fixture(scope="module")
def trained(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train in one go."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    done = subprocess.run([*command, str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def card_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "card.json").read_text()))


def test_killed_training_with_splits_resumes_to_the_same_bundle(
    command: list[str], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    state = tmp_path / "tiny-work" / "split-shortcut_lies-state" / STATE
    with subprocess.Popen(
        [*command, str(out)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        wait_for(lambda: state.is_file() or child.poll() is not None, "state of the second split")
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert state.is_file()
    again = subprocess.run([*command, str(out)], cwd=ROOT, capture_output=True, text=True, check=True)
    # Both networks of two folds and the first split of one were finished; the second split goes on.
    finished = set(re.findall(r"(\S*(?:fold|split)\S*)-\w+\.keras exists already", again.stderr))
    assert finished == {"fold-1", "fold-2", "film-fold-1", "film-fold-2", "split-early_numbers"}
    assert "continuing after epoch 1" in again.stderr
    names = sorted(path.name for path in trained.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    for name in names:
        if name not in {"card.json", "README.md", *REFERENCES}:
            assert (out / name).read_bytes() == (trained / name).read_bytes(), name
    first, second = card_of(trained), card_of(out)
    for card in (first, second):
        # The archive of the reference has the time of writing in it; another day is another date.
        del card["training"]["finished"]
        for name in REFERENCES:
            del card["files"][name]
    assert first == second


def test_card_has_the_figures_of_each_split_and_condition(trained: Path) -> None:
    card = card_of(trained)
    found = splits(read_card(card))
    assert [split.name for split in found] == list(NAMES)
    for split in found:
        assert [image_set.name for image_set in split.sets] == list(CONDITIONS)
        plain, stressed, restyled = split.sets
        assert stressed.n == 2 * plain.n == 2 * restyled.n
        for image_set in split.sets:
            assert list(image_set.figures) == ["auc", "recall", "specificity", "ece", "brier"]
            for figure in image_set.figures.values():
                assert figure.value is not None
                assert figure.low is not None
                assert figure.high is not None
                assert figure.low <= figure.value <= figure.high
        trained_on = card["splits"]["held_out"][split.name]["trained_on"]
        assert 0 < trained_on <= 48 - plain.n
    assert f"| Framing lies, plain | {found[2].sets[0].n} |" in (trained / "README.md").read_text()
    assert card["recipe"]["splits"] == {"early_numbers": 0.22, "shortcut_lies": 0.25, "framing_lies": 0.25}


def test_bundle_has_both_networks_and_the_figures_of_each(trained: Path) -> None:
    card = card_of(trained)
    for runtime in ("litert", "tensorflow"):
        bundle = load_bundle(trained, runtime)
        film = bundle.film_file(runtime)
        assert film is not None
        # Tiny networks with other inputs and other weights.
        assert film.read_bytes() != bundle.file(runtime).read_bytes()
    for name in ("children", "children_stressed", "children_restyled"):
        section = card["networks"][name]
        assert list(section) == ["lungs", "film", "both"]
        assert section["lungs"]["auc"] != section["film"]["auc"]
        # One figure, two ways: of both networks without the second look.
        assert section["both"]["auc"] == card["second_look"][name]["auc_at_first"]
    for split in NAMES:
        for condition in CONDITIONS:
            assert list(card["networks"][f"{split}, {condition}"]) == ["lungs", "film", "both"]
    row = card["networks"]["early_numbers, restyled"]["film"]
    figures = " | ".join(f"{row[metric]:.3f}" for metric in ("auc", "recall", "specificity", "brier"))
    assert f"| Early numbers, restyled | whole film | {figures} |" in (trained / "README.md").read_text()
    models = [keras.saving.load_model(trained / name, compile=False) for name in REFERENCES]
    assert card["training"]["parameters"] == sum(model.count_params() for model in models)


def test_worst_condition_decides_the_points_of_the_bundle(trained: Path) -> None:
    card = card_of(trained)
    worst = {row.point: row for row in lowest(read_card(card))}
    plan, points = card["recipe"]["calibrate"], load_bundle(trained).operating_points
    assert worst.keys() == points.keys()
    assert worst["screen"].sensitivity >= plan["screen_sensitivity"]
    assert worst["rule-in"].specificity >= plan["rule_in_specificity"] or points["rule-in"].threshold == 1.0
    known = {f"{name}, {condition}" for name in ("children", *NAMES) for condition in CONDITIONS}
    for row in worst.values():
        assert {row.sensitivity_in, row.specificity_in} <= known
    default = worst[card["default_operating_point"]]
    split, condition = default.specificity_in.split(", ")
    measured = (
        card["splits"]["held_out"][split][condition]
        if split in NAMES
        else card["metrics"]["children" if condition == "plain" else f"children_{condition}"]
    )
    assert default.specificity == pytest.approx(measured["specificity"])
    assert "the worst of these conditions decides" in card["operating_point_rule"]


def test_both_networks_are_tuned_further(command: list[str], trained: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "own", command[-2]
    arguments = ["--recipe", "fine-tune", "--from", trained, "--data", images, "--out", out, "--epochs", 1]
    with eagerly():
        done = CliRunner().invoke(cli.train, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    bundle = load_bundle(out, "tensorflow")
    assert bundle.card["recipe"]["film"] == card_of(trained)["recipe"]["film"]
    for name in REFERENCES:
        before, after = (keras.saving.load_model(folder / name, compile=False) for folder in (trained, out))
        changes = [
            np.abs(new - old).max()
            for new, old in zip(after.get_weights(), before.get_weights(), strict=True)
        ]
        # The weights move, and only a little: the tuning began with those of the bundle. The last ones are the biases that
        # the calibration moves.
        assert 0 < max(changes[:-1]) < 0.01
