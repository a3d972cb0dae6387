"""Progress, the CPU limit, and trainings that resume after SIGKILL."""

from __future__ import annotations

import csv
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.unit.training.eager import eagerly
from tests.unit.training.fit import small_training
from training.errors import WrongInput
from training.fit import callbacks
from training.fit.callbacks import (
    STATE,
    CpuLimit,
    EarlyStopping,
    Progress,
    Resume,
    cores,
    discard_state,
    fingerprint,
)
from training.fit.history import plot_history, write_history
from worker.config import ROOT

COMMAND = [sys.executable, "-m", "tests.unit.training.fit.small_training"]
HISTORY = [
    {"loss": 0.7, "accuracy": 0.5},
    {"loss": 0.4, "accuracy": 0.8, "val_loss": 0.5, "val_accuracy": 0.7},
]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress_of(epochs: int) -> tuple[Progress, Clock, list[str]]:
    said: list[str] = []
    clock = Clock()
    progress = Progress(epochs, said.append, clock)
    progress.set_params({"steps": 10, "epochs": epochs})
    return progress, clock, said


def test_progress_prints_each_epoch_with_remaining_time() -> None:
    progress, clock, said = progress_of(4)
    progress.on_train_begin()
    clock.now = 120
    progress.on_epoch_end(0, {"loss": 0.512345, "accuracy": np.float32(0.75)})
    assert said == ["epoch 1/4  loss 0.5123  accuracy 0.7500  2.0 min, 6.0 min left"]
    assert progress.history == [{"loss": 0.51235, "accuracy": 0.75}]


def test_progress_prints_a_line_a_minute_within_an_epoch() -> None:
    progress, clock, said = progress_of(2)
    progress.on_train_begin()
    for batch in range(10):
        clock.now += 20
        progress.on_train_batch_end(batch)
    assert said == [
        "epoch 1/2  30%  1.0 min, 5.7 min left",
        "epoch 1/2  60%  2.0 min, 4.7 min left",
        "epoch 1/2  90%  3.0 min, 3.7 min left",
    ]


def test_progress_updates_in_place_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress, clock, said = progress_of(1)
        progress.on_train_begin()
        for batch in range(4):
            clock.now += 0.6
            progress.on_train_batch_end(batch)
        progress.on_epoch_end(0, {"loss": 0.5})
        shown = b"\r\x1b[Kepoch 1/1  20%  0.0 min, 0.1 min left\r\x1b[Kepoch 1/1  40%  0.0 min, 0.1 min left\r\x1b[K"
        read = b""
        while len(read) < len(shown):  # A terminal splits the output arbitrarily.
            read += os.read(master, 4096)
        assert read == shown
    os.close(master)
    assert said == ["epoch 1/1  loss 0.5000  0.0 min, 0.0 min left"]


def test_resumed_progress_estimates_from_new_epochs_only() -> None:
    first, clock, _ = progress_of(4)
    first.on_train_begin()
    clock.now = 600
    first.on_epoch_end(0, {"loss": 0.5})
    second, clock, said = progress_of(4)
    second.set_state(first.state())
    second.on_train_begin()
    clock.now = 60
    second.on_epoch_end(1, {"loss": 0.4})
    assert said == ["epoch 2/4  loss 0.4000  11.0 min, 2.0 min left"]
    assert second.history == [{"loss": 0.5}, {"loss": 0.4}]
    assert second.seconds == 660


def test_the_cpu_limit_holds_in_a_real_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = time.sleep

    def recorded(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr("training.fit.callbacks.time.sleep", recorded)
    model, limit = small_training.network(), CpuLimit(3)
    data = {"x": small_training.IMAGES, "y": small_training.TARGETS, "batch_size": 32, "verbose": 0}
    data["validation_data"] = data["x"], data["y"]
    with eagerly():
        model.fit(**data)
        cpu, wall = time.process_time(), time.monotonic()
        model.fit(**data, callbacks=[limit])
    share = (time.process_time() - cpu) / (time.monotonic() - wall) / cores()
    assert share < 0.03 + 0.02
    # A busy machine can slow single batches below the limit, but not all of them.
    assert pauses


def test_cpu_limit_does_not_catch_up_on_idle_time() -> None:
    limit = CpuLimit(10 / cores())
    limit.on_train_begin()
    time.sleep(1)
    limit.rest()
    begun = time.monotonic()
    burn(0.05)
    limit.rest()
    assert time.monotonic() - begun >= 0.05 / 0.1 * 0.98


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run([*COMMAND, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_killed_training_resumes_to_the_same_result(uninterrupted: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, str(tmp_path), "0.05"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("epoch 3/6"):
                time.sleep(0.25)
                break
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "final.npz").exists()
    again = subprocess.run(
        [*COMMAND, str(tmp_path)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["4/6", "5/6", "6/6"]
    assert history_in(tmp_path) == history_in(uninterrupted)
    with np.load(tmp_path / "final.npz") as ended, np.load(uninterrupted / "final.npz") as wanted:
        assert len(wanted.files) == 8
        for name in wanted.files:
            np.testing.assert_array_equal(ended[name], wanted[name])


def history_in(folder: Path) -> list[dict[str, float]]:
    return list(json.loads((folder / "history.json").read_text()))


def test_kill_while_writing_leaves_a_complete_state(tmp_path: Path) -> None:
    path = tmp_path / STATE
    rng = random.Random(8)
    callbacks._write_whole(path, {"number": np.array(0)})
    for _ in range(20):
        child = os.fork()
        if not child:
            for number in range(1_000_000):
                callbacks._write_whole(path, {"number": np.array(number), "weights": np.zeros(300_000)})
        time.sleep(rng.uniform(0.01, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with np.load(path) as stored:
            assert {name: stored[name].shape for name in stored.files}["number"] == ()


def test_finished_training_does_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_training.train(tmp_path)
    with np.load(tmp_path / "final.npz") as stored:
        first = {name: stored[name] for name in stored.files}
    capsys.readouterr()
    again = small_training.train(tmp_path)
    assert capsys.readouterr().out == ""
    assert len(again.history) == small_training.EPOCHS
    with np.load(tmp_path / "final.npz") as stored:
        for name, wanted in first.items():
            np.testing.assert_array_equal(stored[name], wanted)


def test_state_of_another_training_is_an_error(tmp_path: Path) -> None:
    model = small_training.network()
    Resume(tmp_path, "mine").set_model(model)
    resume = Resume(tmp_path, "mine")
    resume.set_model(model)
    resume.on_epoch_end(0)
    assert Resume(tmp_path, "mine").restore(model) == 1
    with pytest.raises(WrongInput, match=r"another recipe or other data\. .* start again\.$"):
        Resume(tmp_path, "other").restore(model)
    with pytest.raises(WrongInput, match="another network"):
        Resume(tmp_path, "mine").restore(small_training.network(width=9))
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WrongInput, match="cannot be read"):
        Resume(tmp_path, "mine").restore(model)


def test_partial_state_is_ignored_and_discarded(tmp_path: Path) -> None:
    model = small_training.network()
    resume = Resume(tmp_path / "new", "mine")
    resume.set_model(model)
    assert resume.restore(model) == 0
    resume.on_epoch_end(4)
    (tmp_path / "new" / f"{STATE}.part").write_bytes(b"PK half of it")
    assert resume.restore(model) == 5
    discard_state(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_early_stopping_resumes_patience_and_best_weights() -> None:
    model = small_training.network()
    best = [get_weight.copy() for get_weight in model.get_weights()]
    first = EarlyStopping(patience=2, restore_best_weights=True)
    first.set_model(model)
    first.on_train_begin()
    first.on_epoch_end(0, {"val_loss": 0.3})
    model.set_weights([each + 1 for each in best])
    first.on_epoch_end(1, {"val_loss": 0.4})
    second = EarlyStopping(patience=2, restore_best_weights=True)
    second.set_state(first.state())
    second.set_model(model)
    second.on_train_begin()
    second.on_epoch_end(2, {"val_loss": 0.35})
    assert model.stop_training
    assert second.stopped_epoch == 2
    second.on_train_end()
    assert_weights(model, best)
    # If the training is killed now, no epoch is left; only the best weights have to be restored.
    third = EarlyStopping(patience=2, restore_best_weights=True)
    third.set_state(second.state())
    assert third.stopped_epoch == 2
    model.set_weights([each + 1 for each in best])
    model.compile("adam", "binary_crossentropy")
    data = {"x": small_training.IMAGES, "y": small_training.TARGETS, "verbose": 0}
    model.fit(**data, epochs=3, initial_epoch=3, callbacks=[third])
    assert_weights(model, best)


def assert_weights(model: keras.Model, wanted: list[NDArray[np.float32]]) -> None:
    for mine, other in zip(model.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_fingerprint_depends_on_choices_and_every_pixel() -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    changed = pixels.copy()
    changed[1, 3, 3] = 1
    prints = [
        fingerprint("a", pixels),
        fingerprint("b", pixels),
        fingerprint("a", changed),
        fingerprint("a", pixels.reshape(4, 2, 4)),
        fingerprint("a", pixels, pixels),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint("a", pixels.copy()) == prints[0]


def test_history_has_one_row_an_epoch(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", HISTORY)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["val_loss"] for row in rows] == ["", "0.5"]
    assert [float(row["accuracy"]) for row in rows] == [0.5, 0.8]


def test_history_plot_is_reproducible(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_history(tmp_path / name, HISTORY)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 2 * picture.height
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
