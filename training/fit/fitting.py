"""Finding the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.data.augment import augmented_batch
from training.data.spectrum import radial_spectra
from training.fit import callbacks
from training.fit.callbacks import CpuLimit, Progress, Resume
from training.network.architectures import fold, inverted_residual, pooled
from training.network.pretrained import load_pretrained
from training.recipe import AugmentSection, FitSection, NetworkSection, SamplingSection

# The averaged weights may reach back over at most this share of the training.
_LONGEST_AVERAGE = 0.05
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingPlan:
    """What a network is to be taught, and how.

    Attributes:
        network: its shape.
        fit: how its weights are found.
        sampling: how often each image is shown, and how much it counts.
        augment: what is done to the images.
        start: a folded network whose weights are tuned further; None: begin with those that
            `network` names, or with random ones.
    """

    network: NetworkSection
    fit: FitSection
    sampling: SamplingSection
    augment: AugmentSection
    start: keras.Model | None = None

    def seeded(self, seed: int) -> TrainingPlan:
        """The same with another seed."""
        return replace(self, fit=self.fit.model_copy(update={"seed": seed}))


@dataclass(frozen=True)
class Examples:
    """Images to learn from; all of length n.

    Attributes:
        grey: from `checked_grey`, uint8, shape (n, augment.side, augment.side).
        inputs: the same as the server sees them, uint8, shape (n, side, side).
        targets: shape (n, 3), each row adding up to 1.
        from_table: whether an image came from a table, which has classes and repeats of its own.
    """

    grey: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    targets: NDArray[np.float32]
    from_table: NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        model: from grey values to the evidence of each place, its batch norms folded.
        history: one entry an epoch: loss and accuracy on the augmented images.
        seconds: how long it took.
    """

    model: keras.Model
    history: list[dict[str, float]]
    seconds: float


def fit(
    course: TrainingPlan, examples: Examples, state: Path, say: Say, cpu_limit: float | None = None
) -> Fitted:
    """Train a network.

    AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine to zero after a warm-up; what is kept
    is the running average of the weights, with the batch statistics measured anew for it
    (Izmailov et al., UAI 2018).

    Args:
        course: all choices.
        examples: of patients that may be trained on.
        state: folder where each epoch's state is kept, so that a killed training goes on there.
        say: takes a line of progress for a person.
        cpu_limit: per cent of all cores to use at most; None: all that there is.

    Raises:
        WrongInput: the state in that folder is of another training.
    """
    keras.utils.set_random_seed(course.fit.seed)
    model = _network(course)
    batches = Batches(course, examples)
    trained = _compiled(model, course.fit, batches.num_batches)
    progress = Progress(course.fit.epochs, say)
    resume = Resume(state, fingerprint(course, examples), progress=progress)
    batches.begin(resume.restore(trained))
    if batches.epoch:
        say(f"going on after epoch {batches.epoch}")
    limit = [] if cpu_limit is None else [CpuLimit(cpu_limit)]
    trained.fit(
        batches,
        epochs=course.fit.epochs,
        initial_epoch=batches.epoch,
        callbacks=[progress, *limit, resume],
        shuffle=False,  # Batches has an order of its own, which a resumed training can find again.
        verbose=0,
    )
    return Fitted(_served(course, model, batches), progress.history, progress.seconds)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Augmented batches, drawn anew each epoch from the recipe's seed."""

    def __init__(self, course: TrainingPlan, examples: Examples) -> None:
        """Measure the images' spectra, and draw the first epoch's order."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._course, self._examples = course, examples
        self._weights = sample_weights(examples.targets, examples.from_table, course.sampling.class_balance)
        repeats = np.where(examples.from_table, course.sampling.table_repeats, 1)
        self._shown = np.repeat(np.arange(len(repeats)), repeats)
        self._spectra = radial_spectra(examples.inputs) if course.augment.spectrum else None
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw an epoch's order, counted from 0."""
        self.epoch = epoch
        self._order = np.random.default_rng((self._course.fit.seed, epoch)).permutation(self._shown)

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order."""
        self.begin(self.epoch + 1)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch. The last, smaller one is left out: batch statistics want a full one."""
        return max(1, len(self._shown) // self._course.fit.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Model inputs (m, side, side, 1), targets (m, 3) and weights (m,)."""
        course, size = self._course, self._course.fit.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        seed = (course.fit.seed, self.epoch)
        grey = augmented_batch(
            self._examples.grey, chosen, course.network.side, course.augment, seed, self._spectra
        )
        weighted = np.column_stack([self._examples.targets[chosen], self._weights[chosen]])
        inputs, mixed = _mixed(
            grey[..., np.newaxis].astype(np.float32),
            weighted,
            course.fit.mixup,
            np.random.default_rng((*seed, index, 1)),
        )
        return inputs, mixed[:, :-1], mixed[:, -1]


def sample_weights(
    targets: NDArray[np.float32], from_table: NDArray[np.bool_], power: float
) -> NDArray[np.float32]:
    """How much each image counts, shape (n,).

    The classes are balanced within the folder and within the table: if an image's source said which
    class it is likely to be, the network would learn to tell the sources apart.
    """
    weights = np.empty(len(targets), dtype=np.float32)
    for chosen in (from_table, ~from_table):
        if chosen.any():
            weights[chosen] = targets[chosen] @ class_weights(targets[chosen], power)
    return weights


def class_weights(targets: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Weights (1 / share of the class) ** power, shape (3,), whose mean over the images is 1."""
    share = targets.mean(axis=0)
    weights = np.divide(1.0, share, out=np.ones_like(share), where=share > 0) ** power
    return np.asarray(weights / (targets @ weights).mean(), dtype=np.float32)


def _network(course: TrainingPlan) -> keras.Model:
    network = course.network
    if course.start is None:
        model = inverted_residual(network)
        return model if network.pretrained == "none" else load_pretrained(model, network)
    # What is tuned further has its batch norms folded: their statistics stay those of more images
    # than a small folder has.
    model = inverted_residual(network, folded=True)
    model.set_weights(course.start.get_weights())
    return model


def _compiled(model: keras.Model, fit: FitSection, steps_per_epoch: int) -> keras.Model:
    trained = pooled(model)
    trained.compile(
        _optimizer(fit, steps_per_epoch),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=fit.label_smoothing),
        weighted_metrics=["accuracy"],
        jit_compile=False,
    )
    return trained


def _optimizer(fit: FitSection, steps_per_epoch: int) -> keras.optimizers.Optimizer:
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


def _served(course: TrainingPlan, model: keras.Model, batches: Batches) -> keras.Model:
    """The network as it is served, in float32, with batch statistics that fit the averaged weights."""
    served = inverted_residual(course.network, folded=True)
    if course.start is not None:
        served.set_weights(model.get_weights())
        return served
    for index in range(batches.num_batches):
        model(batches[index][0], training=True)
    return fold(model, served)


def fingerprint(course: TrainingPlan, examples: Examples) -> str:
    """Of all that the training depends on."""
    sections = (course.network, course.fit, course.sampling, course.augment)
    weights = course.start.get_weights() if course.start is not None else []
    return callbacks.fingerprint(
        " ".join(section.model_dump_json() for section in sections),
        *(examples.inputs, examples.targets, examples.from_table, *weights),
    )
