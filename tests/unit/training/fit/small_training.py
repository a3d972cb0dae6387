"""A short training with everything that must survive a kill: dropout, batch norm, moments, EMA, a schedule.

`python -m tests.unit.training.fit.small_training FOLDER [SECONDS]` runs it in a separate process. It prints one
line an epoch, sleeps for this time after each batch, and saves the final weights in FOLDER/final.npz.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.fit.callbacks import EarlyStopping, Progress, Resume, fingerprint

EPOCHS = 6
_BATCHES, _BATCH, _SIDE = 12, 8, 12
_RNG = np.random.default_rng(5)
IMAGES = _RNG.random((_BATCHES * _BATCH, _SIDE, _SIDE, 1)).astype(np.float32)
TARGETS = (IMAGES[:, :6].mean(axis=(1, 2)) > 0.5).astype(np.float32)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches in a new order each epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self) -> None:
        self._epoch += 1

    @property
    def num_batches(self) -> int:
        return _BATCHES

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        order = np.random.default_rng(self._epoch).permutation(len(IMAGES))
        chosen = order[index * _BATCH : (index + 1) * _BATCH]
        return IMAGES[chosen], TARGETS[chosen]


class Rest(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        time.sleep(self._seconds)


def network(width: int = 8) -> keras.Model:
    """Build and compile the network; a seed determines its weights."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((_SIDE, _SIDE, 1)),
            layers.Conv2D(width, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * _BATCHES)
    optimizer = keras.optimizers.AdamW(schedule, use_ema=True, ema_momentum=0.95)
    model.compile(optimizer, "binary_crossentropy", weighted_metrics=["accuracy"])
    return model


def train(folder: Path, *, epochs: int = EPOCHS, rest_s: float = 0.0, key: str = "small") -> Progress:
    """Continue the training whose state is in the folder, or start it."""
    model, progress = network(), Progress(EPOCHS, lambda line: print(line, flush=True))
    early = EarlyStopping(patience=EPOCHS, restore_best_weights=False)
    resume = Resume(folder, fingerprint(key, IMAGES, TARGETS), progress=progress, early=early)
    begin = resume.restore(model)
    model.fit(
        Batches(begin),
        epochs=epochs,
        initial_epoch=begin,
        shuffle=False,
        validation_data=(IMAGES[:16], TARGETS[:16]),
        callbacks=[progress, early, Rest(rest_s), resume],
        verbose=0,
    )
    weights = {str(place): each for place, each in enumerate(model.get_weights())}
    np.savez(folder / "final.npz", **weights)
    (folder / "history.json").write_text(json.dumps(progress.history))
    return progress


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
    train(Path(sys.argv[1]), rest_s=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
