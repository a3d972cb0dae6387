"""Optimisation of a network's weights."""

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

# The running average covers at most this share of the training.
_LONGEST_AVERAGE = 0.05
PrintLine = Callable[[str], None]


@dataclass(frozen=True)
class TrainingPlan:
    """The choices for the training of one network.

    Attributes:
        network: its shape.
        fit: how its weights are optimised.
        sampling: how often each image is shown, and how much it counts.
        augment: random changes of the images.
        start: a folded network to tune further. None: start from the weights that `network` names, or from
            random ones.
    """

    network: NetworkSection
    fit: FitSection
    sampling: SamplingSection
    augment: AugmentSection
    start: keras.Model | None = None

    def seeded(self, seed: int) -> TrainingPlan:
        """Return the plan with another seed."""
        return replace(self, fit=self.fit.model_copy(update={"seed": seed}))


@dataclass(frozen=True)
class Examples:
    """Images to train on; all attributes have length n.

    Attributes:
        grey: from `checked_grey`, uint8, shape (n, augment.side, augment.side).
        inputs: as the server sees them, uint8, shape (n, side, side).
        parts: what of each grey image they show, shape (n, 4): see `augmented_batch`.
        targets: shape (n, 3); each row sums to 1.
        from_table: whether an image comes from the table, which has its own class weights and repeats.
    """

    grey: NDArray[np.uint8]
    inputs: NDArray[np.uint8]
    parts: NDArray[np.float64]
    targets: NDArray[np.float32]
    from_table: NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        model: from grey values to the evidence of each place; its batch norms are folded.
        history: one entry an epoch: loss and accuracy on the augmented images.
        seconds: duration of the training.
    """

    model: keras.Model
    history: list[dict[str, float]]
    seconds: float


def fit(
    plan: TrainingPlan,
    examples: Examples,
    state: Path,
    print_line: PrintLine,
    cpu_limit: float | None = None,
) -> Fitted:
    """Train a network.

    AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine decay to zero after a warm-up. The result is the
    running average of the weights, with batch statistics measured anew for it (Izmailov et al., UAI 2018).

    Args:
        plan: all choices.
        examples: images of patients that the network may be trained on.
        state: folder for the state after each epoch, from which an interrupted training continues.
        print_line: called with each line of progress.
        cpu_limit: maximum per cent of all cores; None: no limit.

    Raises:
        WrongInput: the state in that folder belongs to another training.
    """
    keras.utils.set_random_seed(plan.fit.seed)
    model = _network(plan)
    batches = Batches(plan, examples)
    compiled = _compiled(model, plan.fit, batches.num_batches)
    progress = Progress(plan.fit.epochs, print_line)
    resume = Resume(state, fingerprint(plan, examples), progress=progress)
    batches.begin(resume.restore(compiled))
    if batches.epoch:
        print_line(f"continuing after epoch {batches.epoch}")
    limit = [] if cpu_limit is None else [CpuLimit(cpu_limit)]
    compiled.fit(
        batches,
        epochs=plan.fit.epochs,
        initial_epoch=batches.epoch,
        callbacks=[progress, *limit, resume],
        shuffle=False,  # Batches has its own order, which a resumed training reproduces.
        verbose=0,
    )
    return Fitted(_served(plan, model, batches), progress.history, progress.seconds)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Augmented batches, drawn anew each epoch from the recipe's seed."""

    def __init__(self, plan: TrainingPlan, examples: Examples) -> None:
        """Measure the spectra of the images and draw the order of the first epoch."""
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._plan, self._examples = plan, examples
        self._weights = sample_weights(examples.targets, examples.from_table, plan.sampling.class_balance)
        repeats = np.where(examples.from_table, plan.sampling.table_repeats, 1)
        self._shown = np.repeat(np.arange(len(repeats)), repeats)
        self._spectra = radial_spectra(examples.inputs) if plan.augment.spectrum else None
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0."""
        self.epoch = epoch
        self._order = np.random.default_rng((self._plan.fit.seed, epoch)).permutation(self._shown)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self.begin(self.epoch + 1)

    @property
    def num_batches(self) -> int:
        """Number of batches an epoch. An incomplete last batch is left out: batch statistics need a full one."""
        return max(1, len(self._shown) // self._plan.fit.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return model inputs (m, side, side, 1), targets (m, 3) and weights (m,)."""
        plan, size = self._plan, self._plan.fit.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        seed = (plan.fit.seed, self.epoch)
        grey = augmented_batch(
            self._examples.grey,
            chosen,
            plan.network.side,
            plan.augment,
            seed,
            self._spectra,
            self._examples.parts,
        )
        weighted = np.column_stack([self._examples.targets[chosen], self._weights[chosen]])
        inputs, mixed = _mixed(
            grey[..., np.newaxis].astype(np.float32),
            weighted,
            plan.fit.mixup,
            np.random.default_rng((*seed, index, 1)),
        )
        return inputs, mixed[:, :-1], mixed[:, -1]


def sample_weights(
    targets: NDArray[np.float32], from_table: NDArray[np.bool_], power: float
) -> NDArray[np.float32]:
    """Return the weight of each image, shape (n,).

    The classes are balanced within the folder and within the table. If the source of an image made one class
    likelier, the network would learn to tell the sources apart.
    """
    weights = np.empty(len(targets), dtype=np.float32)
    for chosen in (from_table, ~from_table):
        if chosen.any():
            weights[chosen] = targets[chosen] @ class_weights(targets[chosen], power)
    return weights


def class_weights(targets: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return weights (1 / share of the class) ** power, shape (3,), whose mean over the images is 1."""
    share = targets.mean(axis=0)
    weights = np.divide(1.0, share, out=np.ones_like(share), where=share > 0) ** power
    return np.asarray(weights / (targets @ weights).mean(), dtype=np.float32)


def _network(plan: TrainingPlan) -> keras.Model:
    network = plan.network
    if plan.start is None:
        model = inverted_residual(network)
        return model if network.pretrained == "none" else load_pretrained(model, network)
    # A network that is tuned further has folded batch norms: their statistics come from more images than a
    # small folder has.
    model = inverted_residual(network, folded=True)
    model.set_weights(plan.start.get_weights())
    return model


def _compiled(model: keras.Model, fit: FitSection, steps_per_epoch: int) -> keras.Model:
    compiled = pooled(model)
    compiled.compile(
        _optimizer(fit, steps_per_epoch),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=fit.label_smoothing),
        weighted_metrics=["accuracy"],
        jit_compile=False,
    )
    return compiled


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
    partners = rng.permutation(len(inputs))
    weight = share[:, np.newaxis, np.newaxis, np.newaxis]
    mixed = weight * inputs + (1 - weight) * inputs[partners]
    return mixed, share[:, np.newaxis] * targets + (1 - share[:, np.newaxis]) * targets[partners]


def _served(plan: TrainingPlan, model: keras.Model, batches: Batches) -> keras.Model:
    """Return the network to serve, in float32, with batch statistics that fit the averaged weights."""
    served = inverted_residual(plan.network, folded=True)
    if plan.start is not None:
        served.set_weights(model.get_weights())
        return served
    for index in range(batches.num_batches):
        model(batches[index][0], training=True)
    return fold(model, served)


def fingerprint(plan: TrainingPlan, examples: Examples) -> str:
    """Return a hash of everything that the training depends on."""
    sections = (plan.network, plan.fit, plan.sampling, plan.augment)
    weights = plan.start.get_weights() if plan.start is not None else []
    return callbacks.fingerprint(
        " ".join(section.model_dump_json() for section in sections),
        *(examples.inputs, examples.parts, examples.targets, examples.from_table, *weights),
    )
