"""Finding the weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.architectures import plain_residual, pooled
from training.augment import augmented_batch
from training.recipe import Fit, Recipe

# The averaged weights may reach back over at most this share of the training.
_LONGEST_AVERAGE = 0.05
_VALIDATE_EVERY = 5
Say = Callable[[str], None]


@dataclass(frozen=True)
class Examples:
    """Images to learn from.

    Attributes:
        grey: from `to_model_input`, uint8, shape (n, augment.side, augment.side).
        targets: shape (n, 3), each row adding up to 1.
    """

    grey: NDArray[np.uint8]
    targets: NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        model: from grey values to the evidence of each place.
        history: one entry an epoch: loss, accuracy, and where measured val_loss, val_accuracy.
        seconds: how long it took.
    """

    model: keras.Model
    history: list[dict[str, float]]
    seconds: float


def fit(
    recipe: Recipe,
    examples: Examples,
    validation: tuple[NDArray[np.uint8], NDArray[np.float32]],
    say: Say,
) -> Fitted:
    """Train the recipe's network.

    AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine to zero after a warm-up; what is kept
    is the running average of the weights, with the batch statistics measured anew for it
    (Izmailov et al., UAI 2018).

    Args:
        recipe: all choices.
        examples: of patients that are not held out.
        validation: model inputs (n, side, side) and targets (n, 3) of held-out patients. They
            are only reported on the way; nothing is chosen by them.
        say: takes a line of progress for a person.
    """
    keras.utils.set_random_seed(recipe.fit.seed)
    model = plain_residual(recipe.model.side, recipe.model.widths, recipe.model.dropout)
    trained = pooled(model)
    batches = Batches(recipe, examples)
    optimizer = _optimizer(recipe.fit, batches.num_batches)
    trained.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.fit.label_smoothing),
        weighted_metrics=["accuracy"],
        jit_compile=False,
    )
    progress = Progress(recipe.fit.epochs, say)
    started = time.monotonic()
    trained.fit(
        batches,
        epochs=recipe.fit.epochs,
        validation_data=(validation[0][..., np.newaxis].astype(np.float32), validation[1]),
        validation_freq=_VALIDATE_EVERY,
        callbacks=[progress],
        verbose=0,
    )
    _measure_batch_statistics(trained, batches)
    return Fitted(model, progress.history, time.monotonic() - started)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Augmented batches, drawn anew each epoch from the recipe's seed."""

    def __init__(self, recipe: Recipe, examples: Examples) -> None:
        """Draw the first epoch's order."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._recipe, self._examples = recipe, examples
        self._weights = class_weights(examples.targets, recipe.fit.class_balance)
        self._epoch = -1
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order."""
        self._epoch += 1
        rng = np.random.default_rng((self._recipe.fit.seed, self._epoch))
        self._order = rng.permutation(len(self._examples.grey))

    @property
    def num_batches(self) -> int:
        """Batches in an epoch. The last, smaller one is left out: batch statistics want a full one."""
        return max(1, len(self._examples.grey) // self._recipe.fit.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Model inputs (m, side, side, 1), targets (m, 3) and weights (m,)."""
        fit, size = self._recipe.fit, self._recipe.fit.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        seed = (fit.seed, self._epoch)
        recipe = self._recipe
        grey = augmented_batch(self._examples.grey, chosen, recipe.model.side, recipe.augment, seed)
        inputs, targets = _mixed(
            grey[..., np.newaxis].astype(np.float32),
            self._examples.targets[chosen],
            fit.mixup,
            np.random.default_rng((*seed, index, 1)),
        )
        return inputs, targets, targets @ self._weights


class Progress(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the history, and says a line an epoch with the time that is left."""

    def __init__(self, epochs: int, say: Say) -> None:
        """Start the clock."""
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._epochs, self._say, self._started = epochs, say, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep and say what an epoch gave."""
        entry = {key: round(float(value), 5) for key, value in (logs or {}).items()}
        self.history.append(entry)
        took = time.monotonic() - self._started
        left = took / (epoch + 1) * (self._epochs - epoch - 1)
        figures = "  ".join(f"{key} {value:.4f}" for key, value in entry.items())
        self._say(
            f"epoch {epoch + 1}/{self._epochs}  {figures}  {took / 60:.1f} min, {left / 60:.1f} min left"
        )


def class_weights(targets: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Weights (1 / share of the class) ** power, shape (3,), whose mean over the images is 1."""
    share = targets.mean(axis=0)
    weights = np.divide(1.0, share, out=np.ones_like(share), where=share > 0) ** power
    return np.asarray(weights / (targets @ weights).mean(), dtype=np.float32)


def _optimizer(fit: Fit, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    steps = fit.epochs * steps_per_epoch
    warm_up = min(round(fit.warm_up_epochs * steps_per_epoch), steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        fit.learning_rate / 50 if warm_up else fit.learning_rate,
        max(1, steps - warm_up),
        warmup_target=fit.learning_rate if warm_up else None,
        warmup_steps=warm_up,
    )
    momentum = max(0.0, min(fit.ema, 1 - 1 / (_LONGEST_AVERAGE * steps)))
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=fit.weight_decay, use_ema=momentum > 0, ema_momentum=momentum or 0.99
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _mixed(
    inputs: NDArray[np.float32], targets: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mix each image with another of the batch (mixup, Zhang et al., ICLR 2018)."""
    if not alpha:
        return inputs, targets
    share = rng.beta(alpha, alpha, len(inputs)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    other = rng.permutation(len(inputs))
    weight = share[:, np.newaxis, np.newaxis, np.newaxis]
    mixed = weight * inputs + (1 - weight) * inputs[other]
    return mixed, share[:, np.newaxis] * targets + (1 - share[:, np.newaxis]) * targets[other]


def _measure_batch_statistics(model: keras.Model, batches: Batches) -> None:
    """Pass training images through the averaged weights, so that their statistics fit them."""
    for index in range(batches.num_batches):
        model(batches[index][0], training=True)
