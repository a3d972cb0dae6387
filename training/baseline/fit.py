"""Optimisation of the replaced application's weights."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from training.baseline.images import scaled, varied
from training.baseline.network import baseline_cnn
from training.baseline.parts import Images, Parts
from training.baseline.recipe import BaselineAugment, BaselineFit, BaselineRecipe
from training.fit.callbacks import CpuLimit, EarlyStopping, PrintLine, Progress, Resume, fingerprint


def fit(
    recipe: BaselineRecipe, parts: Parts, work: Path, cpu_limit: float | None, print_line: PrintLine
) -> tuple[keras.Model, Progress]:
    """Train the network. The result has the weights of the epoch with the smallest val_loss."""
    keras.utils.set_random_seed(recipe.fit.seed)
    model = baseline_cnn()
    model.compile(
        keras.optimizers.Adam(recipe.fit.learning_rate), "binary_crossentropy", metrics=["accuracy"]
    )
    progress = Progress(recipe.fit.epochs, print_line)
    early = EarlyStopping("val_loss", patience=recipe.fit.patience, restore_best_weights=True)
    training = parts.training
    digest = fingerprint(recipe.model_dump_json(), training.pixels, training.pneumonia, parts.held_out.pixels)
    resume = Resume(work, digest, progress=progress, early=early)
    epochs_done = resume.restore(model)
    if epochs_done:
        print_line(f"continuing after epoch {epochs_done}")
    model.fit(
        Batches(training, recipe.fit, recipe.augment, epochs_done),
        epochs=recipe.fit.epochs,
        # A training that was stopped early and then killed has no epoch left; only the best weights are restored.
        initial_epoch=recipe.fit.epochs if early.stopped_epoch else epochs_done,
        validation_data=Batches(parts.held_out, recipe.fit),
        shuffle=False,
        callbacks=[progress, early, *([] if cpu_limit is None else [CpuLimit(cpu_limit)]), resume],
        verbose=0,
    )
    return model, progress


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Network inputs and targets: augmented anew each epoch for training, unchanged for measuring."""

    def __init__(
        self, images: Images, fit: BaselineFit, augment: BaselineAugment | None = None, epoch: int = 0
    ) -> None:
        """Begin with an epoch, counted from 0."""
        super().__init__()
        self._images, self._targets = images, images.pneumonia
        self._fit, self._augment, self._epoch = fit, augment, epoch

    def on_epoch_end(self) -> None:
        """Draw the order and the variants of the next epoch."""
        self._epoch += 1

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch; the last one may be smaller."""
        return -(-len(self._targets) // self._fit.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return values 0..1, shape (m, 128, 128, 3), and targets, shape (m, 1), 1 for pneumonia."""
        size, seed = self._fit.batch_size, (self._fit.seed, self._epoch)
        order = np.arange(len(self._targets))
        if self._augment is not None:
            order = np.random.default_rng(seed).permutation(order)
        chosen = order[index * size : (index + 1) * size]
        pixels = self._images.pixels[chosen]
        if self._augment is not None:
            rngs = [np.random.default_rng((*seed, int(index))) for index in chosen]
            pixels = np.stack(
                [varied(image, self._augment, rng) for image, rng in zip(pixels, rngs, strict=True)]
            )
        return scaled(pixels), self._targets[chosen, np.newaxis]
