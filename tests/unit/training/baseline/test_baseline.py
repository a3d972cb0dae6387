"""The replaced application: training and measurement by the command, on phantoms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from training import cli
from training.baseline.images import SIDE, network_input, rgb, scaled, stressed, varied
from training.baseline.network import baseline_cnn
from training.baseline.parts import read_parts
from training.baseline.recipe import BaselineAugment, is_baseline_recipe, load_baseline_recipe
from training.baseline.train import train_baseline
from training.data.augment import augmented
from training.errors import WrongInput
from training.recipe import RECIPES, StressSection, load_recipe
from worker.errors import ModelUnusable, RejectedImage
from worker.inference.bundle import load_bundle
from worker.inference.exposure import normalise
from worker.inference.preprocess import decode_film
from worker.phantom import write_phantom

STILL = BaselineAugment(rotation=0, shift=0, flip=0)


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's folders without val/ and test/."""
    root = tmp_path_factory.mktemp("children")
    write_folder(root / "train", patients=8)
    return root


def write_folder(folder: Path, patients: int, first: int = 0) -> None:
    for kind in ("NORMAL", "PNEUMONIA"):
        (folder / kind).mkdir(parents=True)
    for n in range(first, first + 2 * patients):
        write_phantom(folder / "NORMAL" / f"IM-{n // 2:04}-{n:04}.jpeg", n, width=96, opacity=False)
        name = f"person{n // 2}_{'virus' if n % 3 else 'bacteria'}_{n}.jpeg"
        write_phantom(folder / "PNEUMONIA" / name, 500 + n, width=96, opacity=True)


@pytest.fixture(scope="session")
def trained(children: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "seed"
    done = run("--recipe", "seed-cnn", "--data", children, "--out", out, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "no worker can serve it" in done.stderr
    assert "held_out_stressed: n" in done.stderr
    return out


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.train, [str(argument) for argument in arguments])


def document_in(out: Path) -> dict:  # type: ignore[type-arg]
    return dict(json.loads((out / "metrics.json").read_text()))


def test_recipe_has_the_original_values() -> None:
    recipe = load_baseline_recipe("seed-cnn")
    fit = recipe.fit
    assert (fit.epochs, fit.batch_size, fit.learning_rate, fit.patience) == (12, 16, 0.0015, 2)
    assert recipe.measure.threshold == 0.5
    assert recipe.augment.rotation > 0
    assert recipe.augment.shift > 0
    assert recipe.augment.flip == 0.5
    assert is_baseline_recipe("seed-cnn")
    assert not is_baseline_recipe("nightread")


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ("epochs = 12", "epochs = 0", "fit.epochs: Input should be greater than or equal to 1"),
        ("flip = 0.5", "flop = 0.5", r"augment.flip: Field required"),
        ("[measure]", "[measures]", "measure: Field required"),
    ],
)
def test_wrong_recipe_is_explained(tmp_path: Path, was: str, becomes: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((RECIPES / "seed-cnn.toml").read_text().replace(was, becomes))
    with pytest.raises(WrongInput, match=sentence):
        load_baseline_recipe(str(path))


def test_run_writes_model_metrics_history_and_plots(trained: Path) -> None:
    names = {"model.keras", "metrics.json", "history.csv", "history.png", "roc.png", "reliability.png"}
    assert {path.name for path in trained.iterdir()} == names
    assert not trained.with_name("seed-work").exists()
    with (trained / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    losses = [float(row["val_loss"]) for row in rows]
    document = document_in(trained)
    assert document["training"]["best_epoch"] == int(np.argmin(losses)) + 1
    assert document["training"]["parameters"] == 6_516_289
    assert str(trained.parent) not in json.dumps(document)


def test_metrics_follow_from_the_saved_model(trained: Path, children: Path) -> None:
    document = document_in(trained)
    parts = read_parts(load_recipe("nightread"), children, None, None, print)
    model = keras.saving.load_model(trained / "model.keras")
    p = model.predict(scaled(parts.held_out.pixels), verbose=0)[:, 0]
    figures = document["metrics"]["held_out"]
    called = p >= document["threshold"]
    sick = parts.held_out.pneumonia.astype(bool)
    assert figures["n"] == len(p)
    assert figures["accuracy"] == pytest.approx((called == sick).mean())
    assert figures["brier"] == pytest.approx(((p - sick) ** 2).mean(), abs=1e-5)
    assert figures["three_class_accuracy"] is None
    for name in ("auc", "recall", "specificity", "f1", "ece", "brier"):
        low, high = figures[f"{name}_ci"]
        assert low <= figures[name] <= high
    variants = load_recipe("nightread").stress.variants
    assert document["metrics"]["held_out_stressed"]["n"] == variants * figures["n"]


def test_held_out_images_are_the_shipped_recipes_first_fold(children: Path) -> None:
    from training.data.radiographs import fold_of_each, list_folders

    like = load_recipe("nightread")
    parts = read_parts(like, children, None, None, print)
    everything = list_folders(children / "train")
    mask = fold_of_each(everything, like.split.folds, like.split.seed) == 0
    assert parts.held_out.radiographs == [each for each, held in zip(everything, mask, strict=True) if held]
    ours = {radiograph.patient for radiograph in parts.training.radiographs}
    assert ours.isdisjoint(radiograph.patient for radiograph in parts.held_out.radiographs)
    assert len(parts.training.radiographs) + len(parts.held_out.radiographs) == len(everything)


def test_a_limit_thins_the_list_evenly(children: Path) -> None:
    parts = read_parts(load_recipe("nightread"), children, 24, None, print)
    together = parts.training.radiographs + parts.held_out.radiographs
    assert len(together) == 24
    assert sum(model.pneumonia for model in together) == 12


def test_existing_splits_are_used(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", patients=3)
    write_folder(tmp_path / "val", patients=1, first=50)
    write_folder(tmp_path / "test", patients=2, first=80)
    (tmp_path / "test" / "NORMAL" / "IM-0099-0001.jpeg").write_bytes(b"not an image")
    parts = read_parts(load_recipe("nightread"), tmp_path, None, None, print)
    assert len(parts.training.radiographs) == 12
    assert parts.held_out_of == "val/"
    assert {radiograph.path.parents[1].name for radiograph in parts.held_out.radiographs} == {"val"}
    assert len(parts.measured["test"].radiographs) == 8


def test_interrupted_run_continues(children: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def stop_after_one(line: str) -> None:
        said.append(line)
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_baseline("seed-cnn", children, tmp_path / "seed", epochs=2, print_line=stop_after_one)
    assert not (tmp_path / "seed").exists()
    said.clear()
    document = train_baseline("seed-cnn", children, tmp_path / "seed", epochs=2, print_line=said.append)
    assert [line[:9] for line in said if line.startswith(("epoch", "continuing"))] == [
        "continuin",
        "epoch 2/2",
    ]
    assert document["training"]["epochs"] == 2


def test_worker_cannot_serve_the_baseline(trained: Path) -> None:
    with pytest.raises(ModelUnusable):
        load_bundle(trained)


def test_baseline_cannot_be_tuned_further(children: Path, trained: Path, tmp_path: Path) -> None:
    done = run("--recipe", "seed-cnn", "--data", children, "--out", tmp_path / "out", "--from", trained)
    assert done.exit_code == 2
    assert "omit --from" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_network_input_is_rgb_from_0_to_1(phantoms: list[Path]) -> None:
    pixels = network_input(phantoms[0])
    assert pixels.shape == (1, SIDE, SIDE, 3)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < pixels.max() <= 1
    with pytest.raises(RejectedImage):
        rgb(phantoms[0].read_bytes()[:900])


def test_zero_variation_changes_nothing(phantoms: list[Path]) -> None:
    pixels = rgb(phantoms[0].read_bytes())
    np.testing.assert_array_equal(varied(pixels, STILL, np.random.default_rng(1)), pixels)
    mirrored = varied(pixels, STILL.model_copy(update={"flip": 1.0}), np.random.default_rng(1))
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])


def test_variation_stays_within_its_ranges() -> None:
    dot = np.full((SIDE, SIDE, 3), 40, np.uint8)
    dot[62:66, 92:96] = 250
    places = []
    for seed in range(60):
        moved = varied(dot, BaselineAugment(rotation=10, shift=0.1, flip=0), np.random.default_rng(seed))
        assert moved.min() == 40
        rows, columns = np.nonzero(moved[..., 0] > 120)
        places.append((columns.mean() - 63.5, rows.mean() - 63.5))
    x, y = np.array(places).T
    # The dot is 30 pixels right of the centre. 10 degrees move it 5.2 pixels up or down; shifts are up to 12.8.
    assert 12 < np.ptp(x) < 2 * 12.8 + 2
    assert 14 < np.ptp(y) < 2 * (12.8 + 5.2) + 2
    assert np.abs(y).max() > 12.9


def without_pixel_noise(stress: StressSection) -> StressSection:
    return stress.model_copy(update={"noise": (0, 0), "blur": (0, 0), "jpeg_share": 0})


def test_stress_equals_the_shipped_stress_before_normalisation(
    phantoms: list[Path],
) -> None:
    stress = without_pixel_noise(load_recipe("nightread").stress)
    grey = decode_film(phantoms[1].read_bytes(), stress.side).grey
    for seed in range(8):
        ours = stressed(grey, SIDE, stress, np.random.default_rng(seed))
        theirs = augmented(grey, SIDE, stress, np.random.default_rng(seed))
        assert ours.shape == (SIDE, SIDE, 3)
        np.testing.assert_array_equal(normalise(ours[..., 0]), theirs)


@pytest.mark.parametrize("change", [{"noise": (8, 8)}, {"blur": (2, 2)}, {"jpeg_share": 1, "jpeg": (9, 9)}])
def test_stress_degrades_single_pixels(phantoms: list[Path], change: dict[str, object]) -> None:
    clean = without_pixel_noise(load_recipe("nightread").stress)
    grey = decode_film(phantoms[1].read_bytes(), clean.side).grey
    hit = clean.model_copy(update=change)
    seen = [[stressed(grey, SIDE, each, np.random.default_rng(n)) for n in range(8)] for each in (clean, hit)]
    changed = [not np.array_equal(*pair) for pair in zip(*seen, strict=True)]
    # Half of the images keep their sharpness and get no noise.
    assert all(changed) if "jpeg" in change else 0 < sum(changed) < len(changed)


def test_stress_keeps_the_exposure(phantoms: list[Path]) -> None:
    stress = load_recipe("nightread").stress.model_dump()
    bright = StressSection.model_validate(
        stress | {"brightness": (0.3, 0.3), "noise": (0, 0), "jpeg_share": 0}
    )
    dark = bright.model_copy(update={"brightness": (-0.3, -0.3)})
    grey = decode_film(phantoms[1].read_bytes(), bright.side).grey
    seen = [stressed(grey, SIDE, each, np.random.default_rng(3)) for each in (bright, dark)]
    assert seen[0].mean() - seen[1].mean() > 60


def test_baseline_network_has_the_original_layers() -> None:
    assert [tuple(layer.kernel.shape) for layer in baseline_cnn().layers if hasattr(layer, "kernel")] == [
        (3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (14 * 14 * 128, 256), (256, 1),
    ]  # fmt: skip
