"""Finding the replaced application's weights."""

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
    recipe: BaselineRecipe, parts: Parts, work: Path, cpu_limit: float | None, say: PrintLine
) -> tuple[keras.Model, Progress]:
    """Train; what is given back has the weights of the epoch with the smallest val_loss."""
    keras.utils.set_random_seed(recipe.fit.seed)
    model = baseline_cnn()
    model.compile(
        keras.optimizers.Adam(recipe.fit.learning_rate), "binary_crossentropy", metrics=["accuracy"]
    )
    progress = Progress(recipe.fit.epochs, say)
    early = EarlyStopping("val_loss", patience=recipe.fit.patience, restore_best_weights=True)
    training = parts.training
    known_by = fingerprint(
        recipe.model_dump_json(), training.pixels, training.pneumonia, parts.held_out.pixels
    )
    resume = Resume(work, known_by, progress=progress, early=early)
    done = resume.restore(model)
    if done:
        say(f"going on after epoch {done}")
    model.fit(
        Batches(training, recipe.fit, recipe.augment, done),
        epochs=recipe.fit.epochs,
        # Stopped early, then killed: nothing is left but to take the best weights back.
        initial_epoch=recipe.fit.epochs if early.stopped_epoch else done,
        validation_data=Batches(parts.held_out, recipe.fit),
        shuffle=False,
        callbacks=[progress, early, *([] if cpu_limit is None else [CpuLimit(cpu_limit)]), resume],
        verbose=0,
    )
    return model, progress


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Network inputs and targets: drawn anew each epoch to train on, as they are to measure."""

    def __init__(
        self, images: Images, fit: BaselineFit, augment: BaselineAugment | None = None, epoch: int = 0
    ) -> None:
        """Begin with an epoch, counted from 0."""
        super().__init__()
        self._images, self._targets = images, images.pneumonia
        self._fit, self._augment, self._epoch = fit, augment, epoch

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order and variants."""
        self._epoch += 1

    @property
    def num_batches(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._targets) // self._fit.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Values 0..1, shape (m, 128, 128, 3), and 1 for pneumonia, shape (m, 1)."""
        size, seed = self._fit.batch_size, (self._fit.seed, self._epoch)
        order = np.arange(len(self._targets))
        if self._augment is not None:
            order = np.random.default_rng(seed).permutation(order)
        chosen = order[index * size : (index + 1) * size]
        pixels = self._images.pixels[chosen]
        if self._augment is not None:
            rngs = [np.random.default_rng((*seed, int(place))) for place in chosen]
            pixels = np.stack(
                [varied(each, self._augment, rng) for each, rng in zip(pixels, rngs, strict=True)]
            )
        return scaled(pixels), self._targets[chosen, np.newaxis]
