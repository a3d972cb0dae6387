"""Keras callbacks: progress, CPU limit, early stopping and resuming.

They do not depend on recipes and run on every backend of Keras.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from training.errors import WrongInput

PrintLine = Callable[[str], None]
Arrays = dict[str, NDArray[Any]]
Clock = Callable[[], float]

STATE = "training-state.npz"
_SAY_EVERY_S = 60.0
_SHOW_EVERY_S = 1.0
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


class Kept(Protocol):
    """A part of the training's state besides the network."""

    def state(self) -> Arrays:
        """Return the state as arrays, by name."""

    def set_state(self, state: Arrays) -> None:
        """Restore a state that `state` returned."""


class Progress(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the history and prints the figures of each epoch and the remaining time.

    Prints one line an epoch, and one line a minute within a long epoch. On a terminal, a line that updates
    every second shows the progress within the epoch.

    Attributes:
        history: one entry an epoch: loss, accuracy and, where measured, val_loss and val_accuracy.
    """

    def __init__(self, epochs: int, print_line: PrintLine, clock: Clock = time.monotonic) -> None:
        """Start the clock of a training of `epochs` epochs in total."""
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._epochs, self._print_line, self._clock = epochs, print_line, clock
        self._earlier_s, self._started = 0.0, clock()
        self._first_epoch, self._printed_at = 0, self._started
        self._on_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Duration of the training in seconds, without interruptions and work lost to them."""
        return self._earlier_s + self._clock() - self._started

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started = self._printed_at = self._clock()
        self._first_epoch = len(self.history)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Report the progress within a long epoch."""
        steps = (self.params or {}).get("steps")
        every = _SHOW_EVERY_S if self._on_terminal else _SAY_EVERY_S
        if not steps or self._clock() - self._printed_at < every:
            return
        self._printed_at = self._clock()
        line = (
            f"{self._epoch(len(self.history))}  {(batch + 1) / steps:.0%}  {self._times((batch + 1) / steps)}"
        )
        if self._on_terminal:
            self._show(line)
        else:
            self._print_line(line)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record and print the figures of an epoch."""
        entry = {key: round(float(value), 5) for key, value in (logs or {}).items()}
        self.history.append(entry)
        self._printed_at = self._clock()
        if self._on_terminal:
            self._show("")
        figures = "  ".join(f"{key} {value:.4f}" for key, value in entry.items())
        self._print_line(f"{self._epoch(epoch)}  {figures}  {self._times(0.0)}")

    def state(self) -> Arrays:
        """Return the history and the duration so far."""
        return {"history": np.array(json.dumps(self.history)), "seconds": np.array(self.seconds)}

    def set_state(self, state: Arrays) -> None:
        """Continue from `state`."""
        self.history[:] = json.loads(str(state["history"]))
        self._earlier_s, self._started = float(state["seconds"]), self._clock()

    def _epoch(self, number: int) -> str:
        return f"epoch {number + 1}/{self._epochs}"

    def _times(self, within: float) -> str:
        """Return the elapsed and the remaining time; `within` is the finished share of the running epoch."""
        done = len(self.history) - self._first_epoch + within
        left = (self._clock() - self._started) / done * (self._epochs - len(self.history) - within)
        return f"{self.seconds / 60:.1f} min, {left / 60:.1f} min left"

    @staticmethod
    def _show(line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


class CpuLimit(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Limits the training to a share of the machine by sleeping after each batch.

    Within a batch all cores may be busy; the limit holds on average. The training does not catch up later
    for time that it left unused.
    """

    def __init__(self, percent: float) -> None:
        """Allow `percent` per cent of all cores together, above 0 and up to 100."""
        super().__init__()
        self._allowed = percent / 100 * cores()
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start counting CPU time."""
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Sleep after a training batch."""
        self.rest()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Sleep after a validation batch."""
        self.rest()

    def rest(self) -> None:
        """Sleep until the CPU time since the last call is the allowed share of the elapsed time."""
        # The CPU time of all threads counts. What other threads use during the sleep counts for the next call.
        cpu = time.process_time()
        pause = (cpu - self._cpu) / self._allowed - (time.monotonic() - self._wall)
        if pause > 0:
            time.sleep(pause)
        self._cpu, self._wall = cpu, time.monotonic()


class EarlyStopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras has no types
    """Keras's early stopping, with a state that a resumed training restores."""

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reset the state, unless there is one to continue from."""
        if self.best_weights is None:
            super().on_train_begin(logs)

    def state(self) -> Arrays:
        """Return the best weights and the epochs without improvement since."""
        counts = np.array([self.wait, self.best_epoch, self.stopped_epoch])
        weights = {f"weight-{index}": array for index, array in enumerate(self.best_weights or [])}
        return {"counts": counts, "best": np.array(self.best), **weights}

    def set_state(self, state: Arrays) -> None:
        """Continue from `state`."""
        self.wait, self.best_epoch, self.stopped_epoch = (int(count) for count in state["counts"])
        self.best = float(state["best"])
        self.best_weights = [state[f"weight-{index}"] for index in range(len(state) - 2)]


class Resume(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Saves the state of a training after each epoch, so that an interrupted training continues there.

    Keras's BackupAndRestore does not fit. It overwrites its weights in place and then writes the epoch to a
    second file, so a kill in between leaves a broken file or weights that are one epoch ahead of their number.
    It does not save the state of dropout's random numbers, the history or early stopping, and it does not
    check that the state belongs to this training.

    It must be the last callback, because it saves the state of the others. The batches must depend on the
    epoch alone: `fit` needs `shuffle=False`, because Keras shuffles with numpy's global random numbers, whose
    state is not saved.
    """

    def __init__(self, folder: Path, fingerprint: str, **kept: Kept) -> None:
        """Keep the state in a folder.

        Args:
            folder: created with the first state.
            fingerprint: hash of everything that the training depends on. A state with another one is an error.
            kept: objects with a state of their own, by name, for instance the progress.
        """
        super().__init__()
        self._path = folder / STATE
        self._fingerprint, self._kept = fingerprint, kept

    def restore(self, model: keras.Model) -> int:
        """Restore a compiled model and everything else that is kept.

        Returns:
            The number of finished epochs: the `initial_epoch` for `fit`, and the epoch that the batches begin
            with. 0 without a saved state.

        Raises:
            WrongInput: the state belongs to another training, or cannot be read.
        """
        if not self._path.is_file():
            return 0
        arrays = self._read()
        variables = _variables(model)
        for index, variable in enumerate(variables):
            stored = arrays.get(f"variable/{index}")
            if stored is None or stored.shape != tuple(variable.shape):
                raise WrongInput(self._error_text("belongs to another network"))
            variable.assign(stored)
        for name, part in self._kept.items():
            part.set_state(_unprefixed(arrays, name))
        return int(arrays["epochs"])

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Derive the random numbers that no variable keeps from the epoch."""
        # On PyTorch, Keras's dropout draws from the process's own generator.
        if keras.config.backend() == "torch":
            keras.utils.set_random_seed(zlib.crc32(f"{self._fingerprint} {epoch}".encode()))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Save the state."""
        arrays: Arrays = {"fingerprint": np.array(self._fingerprint), "epochs": np.array(epoch + 1)}
        for index, variable in enumerate(_variables(self.model)):
            arrays[f"variable/{index}"] = keras.ops.convert_to_numpy(variable)
        for name, part in self._kept.items():
            arrays |= {f"{name}/{key}": value for key, value in part.state().items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(self._path, arrays)

    def _read(self) -> Arrays:
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            fingerprint = str(arrays["fingerprint"])
        except _UNREADABLE:
            raise WrongInput(self._error_text("cannot be read")) from None
        if fingerprint != self._fingerprint:
            raise WrongInput(self._error_text("belongs to another recipe or other data"))
        return arrays

    def _error_text(self, reason: str) -> str:
        return (
            f"The training state in {self._path} {reason}. "
            "Write to another folder, or delete that file to start again."
        )


def fingerprint(choices: str, *arrays: NDArray[Any]) -> str:
    """Return the SHA-256, in hexadecimal, by which `Resume` recognises a training.

    Args:
        choices: the whole recipe as text, and everything else that decides.
        arrays: images and targets, in the order in which the training uses them.
    """
    digest = hashlib.sha256(choices.encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def discard_state(folder: Path) -> None:
    """Remove the state of a training whose result is safely on disk."""
    for path in (folder / STATE, _unfinished(folder / STATE)):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def cores() -> int:
    """Return the number of cores that this process may run on."""
    # macOS and Windows cannot restrict a process to some cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variables(model: keras.Model) -> list[Any]:
    """Return all variables: weights, batch statistics, dropout's random numbers and the optimizer's state."""
    if not model.optimizer.built:  # A new optimizer has no moments yet.
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _unprefixed(arrays: Arrays, name: str) -> Arrays:
    return {
        key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")
    }


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _write_whole(path: Path, arrays: Arrays) -> None:
    """Write a file completely or not at all, even if the process or the machine dies."""
    with _unfinished(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the names for options
        file.flush()
        os.fsync(file.fileno())
    _unfinished(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
