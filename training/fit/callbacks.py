"""What goes along with a training: its progress, its share of the machine, its state on disk.

They know nothing of recipes, and run on every backend of Keras.
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
    """Something besides the network that a resumed training needs."""

    def state(self) -> Arrays:
        """All of it, by name."""

    def set_state(self, state: Arrays) -> None:
        """Become what `state` gave."""


class Progress(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the history, and says what each epoch gave and how much time is left.

    A line an epoch, and within a long epoch a line a minute; on a terminal, the line in between is
    shown every second, in place.

    Attributes:
        history: one entry an epoch: loss, accuracy, and where measured val_loss, val_accuracy.
    """

    def __init__(self, epochs: int, say: PrintLine, clock: Clock = time.monotonic) -> None:
        """Expect so many epochs in all."""
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._epochs, self._say, self._clock = epochs, say, clock
        self._earlier_s, self._started = 0.0, clock()
        self._begun_with, self._spoke = 0, self._started
        self._on_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """How long the training has taken, less what was lost to an interruption."""
        return self._earlier_s + self._clock() - self._started

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self._started = self._spoke = self._clock()
        self._begun_with = len(self.history)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Within a long epoch, say from time to time how far it is."""
        steps = (self.params or {}).get("steps")
        every = _SHOW_EVERY_S if self._on_terminal else _SAY_EVERY_S
        if not steps or self._clock() - self._spoke < every:
            return
        self._spoke = self._clock()
        line = (
            f"{self._epoch(len(self.history))}  {(batch + 1) / steps:.0%}  {self._times((batch + 1) / steps)}"
        )
        if self._on_terminal:
            self._show(line)
        else:
            self._say(line)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep and say what an epoch gave."""
        entry = {key: round(float(value), 5) for key, value in (logs or {}).items()}
        self.history.append(entry)
        self._spoke = self._clock()
        if self._on_terminal:
            self._show("")
        figures = "  ".join(f"{key} {value:.4f}" for key, value in entry.items())
        self._say(f"{self._epoch(epoch)}  {figures}  {self._times(0.0)}")

    def state(self) -> Arrays:
        """The history and the time so far."""
        return {"history": np.array(json.dumps(self.history)), "seconds": np.array(self.seconds)}

    def set_state(self, state: Arrays) -> None:
        """Go on from `state`."""
        self.history[:] = json.loads(str(state["history"]))
        self._earlier_s, self._started = float(state["seconds"]), self._clock()

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self._epochs}"

    def _times(self, within: float) -> str:
        """The time so far and the time left, `within` being the share done of the running epoch."""
        done = len(self.history) - self._begun_with + within
        left = (self._clock() - self._started) / done * (self._epochs - len(self.history) - within)
        return f"{self.seconds / 60:.1f} min, {left / 60:.1f} min left"

    @staticmethod
    def _show(line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


class CpuLimit(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Holds the training to a share of the machine, by sleeping after each batch.

    Within a batch all cores may be busy: it is the average that is held. Time that the training
    could have used and did not is not made up for afterwards.
    """

    def __init__(self, percent: float) -> None:
        """Allow so many per cent of all cores together, above 0 and up to 100."""
        super().__init__()
        self._allowed = percent / 100 * cores()
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Let what came before not count."""
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Rest after a batch."""
        self.rest()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Rest after a batch of the validation."""
        self.rest()

    def rest(self) -> None:
        """Sleep until the CPU time used since the last rest is the allowed share of the time passed."""
        # Every thread counts. What other threads use during the sleep counts for the next rest.
        cpu = time.process_time()
        pause = (cpu - self._cpu) / self._allowed - (time.monotonic() - self._wall)
        if pause > 0:
            time.sleep(pause)
        self._cpu, self._wall = cpu, time.monotonic()


class EarlyStopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras has no types
    """Keras's own, which a resumed training can take up where it was."""

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Begin anew unless there is a state to go on from."""
        if self.best_weights is None:
            super().on_train_begin(logs)

    def state(self) -> Arrays:
        """What was best, and since when nothing was better."""
        counts = np.array([self.wait, self.best_epoch, self.stopped_epoch])
        weights = {f"weight-{place}": each for place, each in enumerate(self.best_weights or [])}
        return {"counts": counts, "best": np.array(self.best), **weights}

    def set_state(self, state: Arrays) -> None:
        """Go on from `state`."""
        self.wait, self.best_epoch, self.stopped_epoch = (int(each) for each in state["counts"])
        self.best = float(state["best"])
        self.best_weights = [state[f"weight-{place}"] for place in range(len(state) - 2)]


class Resume(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the state of a training on disk, so that a killed one goes on after its last whole epoch.

    Not Keras's BackupAndRestore: that one keeps the EMA averages, but overwrites its weights where they
    lie and writes the epoch to a second file after them, so that a kill in between leaves a broken
    file or weights that are an epoch ahead of their number; nor does it keep the state of
    dropout's random numbers, the history or early stopping, or know whose training it was.

    It must be the last callback, since it writes down what the others hold. The batches must follow
    from the epoch alone: fit needs `shuffle=False`, or Keras shuffles them by numpy's global random
    numbers, which are not kept.
    """

    def __init__(self, folder: Path, fingerprint: str, **kept: Kept) -> None:
        """Keep the state in a folder.

        Args:
            folder: made when there is something to write.
            fingerprint: of all that the training depends on; a state with another one is refused.
            kept: what has a state of its own, by name, for instance the progress.
        """
        super().__init__()
        self._path = folder / STATE
        self._fingerprint, self._kept = fingerprint, kept

    def restore(self, model: keras.Model) -> int:
        """Bring a compiled model, and all that is kept, to where the training was.

        Returns:
            The number of epochs that are done: fit's `initial_epoch`, and the epoch that the
            batches have to begin with. 0 where there is no state.

        Raises:
            WrongInput: the state is of another training, or cannot be read.
        """
        if not self._path.is_file():
            return 0
        arrays = self._read()
        variables = _variables(model)
        for place, variable in enumerate(variables):
            stored = arrays.get(f"variable/{place}")
            if stored is None or stored.shape != tuple(variable.shape):
                raise WrongInput(self._refusal("is of another network"))
            variable.assign(stored)
        for name, each in self._kept.items():
            each.set_state(_unprefixed(arrays, name))
        return int(arrays["epochs"])

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Let the random numbers that no variable keeps follow from the epoch."""
        # On PyTorch, Keras's dropout draws from the process's own generator.
        if keras.config.backend() == "torch":
            keras.utils.set_random_seed(zlib.crc32(f"{self._fingerprint} {epoch}".encode()))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        """Write the state down."""
        arrays: Arrays = {"fingerprint": np.array(self._fingerprint), "epochs": np.array(epoch + 1)}
        for place, variable in enumerate(_variables(self.model)):
            arrays[f"variable/{place}"] = keras.ops.convert_to_numpy(variable)
        for name, each in self._kept.items():
            arrays |= {f"{name}/{key}": value for key, value in each.state().items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(self._path, arrays)

    def _read(self) -> Arrays:
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            fingerprint = str(arrays["fingerprint"])
        except _UNREADABLE:
            raise WrongInput(self._refusal("cannot be read")) from None
        if fingerprint != self._fingerprint:
            raise WrongInput(self._refusal("was begun with another recipe or other data"))
        return arrays

    def _refusal(self, reason: str) -> str:
        return (
            f"The training whose state is in {self._path} {reason}: "
            "write to another folder, or remove that file to begin anew."
        )


def fingerprint(choices: str, *arrays: NDArray[Any]) -> str:
    """What `Resume` knows a training by: a SHA-256, in hexadecimal.

    Args:
        choices: the whole recipe as text, and whatever else decides.
        arrays: images and targets, in the order in which the training knows them.
    """
    digest = hashlib.sha256(choices.encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def discard_state(folder: Path) -> None:
    """Remove the state of a training, when what it was for is safely on disk."""
    for path in (folder / STATE, _unfinished(folder / STATE)):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def cores() -> int:
    """Cores that this process may run on."""
    # macOS and Windows cannot say which ones.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variables(model: keras.Model) -> list[Any]:
    """Weights, batch statistics, dropout's random numbers; the optimizer's moments, averages and steps."""
    if not model.optimizer.built:  # A new one has no moments yet.
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _unprefixed(arrays: Arrays, name: str) -> Arrays:
    return {
        key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")
    }


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _write_whole(path: Path, arrays: Arrays) -> None:
    """Write a file that is there as a whole or not at all, whenever the process or the machine dies."""
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
