"""The gate: a small network that recognises frontal chest radiographs.

Its threshold and its figures come from quantised networks that saw neither the patient nor the kind of
drawing in training. The released network is then fitted to all examples.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from PIL import Image

from training.data.cohort import FOLDER, TABLE, Cohort
from training.export.card import write_card
from training.export.litert import REPRESENTATIVE, to_int8
from training.fit.callbacks import fingerprint
from training.fit.crossfit import Workspace
from training.fit.small import fit_small, keep
from training.gate.examples import (
    LABELS,
    MIRRORED,
    NETWORK_SIDE,
    Chests,
    Examples,
    draw,
    folds_of,
    seen,
)
from training.gate.measures import RULE, GateAnswers, choose_threshold, measured
from training.gate.negatives import NEVER_TRAINED_ON
from training.gate.plate import Grey
from training.gate.variation import STRESSES
from training.network.architectures import BatchNorm
from training.recipe import GateSection, Recipe
from worker.card.loading import CARD
from worker.inference.bundle import Bundle
from worker.inference.gate import FILE, SECTION, downsample
from worker.inference.lungs import whole_film
from worker.inference.runtime import LiteRtRuntime
from worker.inference.softmax import softmax

Floats = NDArray[np.float64]
_NEVER_SEEN = 200
_SHIFT, _SMALLEST_BOX, _LARGEST_BOX, _BOXED = 4, 4, 20, 0.3


@dataclass(frozen=True)
class GatePart:
    """The files of a gate: the content of gate.tflite, and its section of the card."""

    network: bytes
    section: dict[str, Any]


def chest_sets(recipe: Recipe, cohort: Cohort) -> dict[str, Chests]:
    """Return the real frontal radiographs of a training, by the name of their set on the card."""
    sources = {FOLDER: recipe.data.folder, TABLE: recipe.data.table}
    sets = {}
    for source in np.unique(cohort.source).tolist():
        part = cohort.at(cohort.source == source)
        # The gate sees the whole film, also if the network sees only the lungs.
        inputs = np.stack([whole_film(field) for field in part.grey]) if part.finders else part.inputs
        sets[sources[source].called] = Chests(part.radiographs, inputs, part.grey, part.fold)
    return sets


def fit_gate(chests: Mapping[str, Chests], plan: GateSection, work: Workspace) -> GatePart:
    """Draw examples, fit a network for each fold, choose the threshold by `RULE`, and fit one network to all.

    Args:
        chests: real frontal chests by the name of the set, for instance `children` and `adults`. The rule
            applies to each set separately.
        plan: the section [gate]. The same plan gives the same gate on one machine.
        work: the workspace, which keeps finished networks.
    """
    work.print_line("gate: drawing images that are not frontal chests")
    examples, folds = draw(chests, plan), folds_of(chests)
    others = examples.at(examples.labels != 0)
    out_of_fold = _OutOfFold(chests, others)
    for fold in range(folds):
        training = examples.at(examples.folds != fold)
        out_of_fold.add_fold(_served(f"gate-{fold + 1}", plan, training, plan.seed + 1 + fold, work), fold)
    network = _served("gate-final", plan, examples, plan.seed, work)
    untrained = {
        kind: label_probabilities(network, _never_seen(kind, plan.seed)) for kind in NEVER_TRAINED_ON
    }
    gate_answers = GateAnswers(out_of_fold.plain, out_of_fold.stressed, out_of_fold.others, untrained)
    threshold = choose_threshold(gate_answers.plain, gate_answers.stressed)
    figures = measured(
        gate_answers, {name: chest_set.radiographs for name, chest_set in chests.items()}, others, threshold
    )
    section = {
        "labels": list(LABELS),
        "side": NETWORK_SIDE,
        "threshold": threshold,
        "rule": RULE,
        "seed": plan.seed,
        "examples": len(examples.labels),
        **figures,
    }
    return GatePart(network, section)


def add_to_bundle(folder: Path, part: GatePart) -> None:
    """Write gate.tflite into a bundle and its section into the card, in place of an older gate."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    (folder / FILE).write_bytes(part.network)
    names = dict.fromkeys((*card.pop("files"), FILE))
    write_card(folder, {**card, SECTION: part.section}, list(names))


def part_of(bundle: Bundle) -> GatePart | None:
    """Return the gate of a bundle, to add it to another one; None if it has none."""
    if SECTION not in bundle.card:
        return None
    return GatePart((bundle.folder / FILE).read_bytes(), bundle.card[SECTION])


def label_probabilities(network: bytes, inputs: Grey) -> Floats:
    """Return the label probabilities of a quantised gate for inputs (n, 64, 64), shape (n, labels)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(network)
        return softmax(LiteRtRuntime(path).run(inputs))


def network(widths: Sequence[int]) -> keras.Model:
    """Build the gate's network: plain 3 x 3 convolutions that halve the side, and a mean.

    Args:
        widths: channels after each convolution.

    Returns:
        A model from grey values 0..255, shape (n, 64, 64, 1), to logits, shape (n, labels).
    """
    grey = keras.Input((NETWORK_SIDE, NETWORK_SIDE, 1), name="grey")
    x = layers.Rescaling(1 / 127.5, -1, name="centred")(grey)
    # Explicit names: Keras would number layers through the life of the process, and names are exported.
    for number, (width, stride) in enumerate((*((width, 2) for width in widths), (widths[-1], 1))):
        x = layers.Conv2D(width, 3, stride, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(BatchNorm(momentum=0.95, name=f"norm{number}")(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(grey, layers.Dense(len(LABELS), name="logits")(x), name="gate")


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Examples in a new order each epoch, randomly mirrored, shifted and partly covered."""

    def __init__(self, examples: Examples, size: int, seed: int) -> None:
        """Draw the order of the first epoch."""
        super().__init__()
        self._examples, self._size, self._seed, self._epoch = (
            examples,
            min(size, len(examples.labels)),
            seed,
            -1,
        )
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._examples.labels))

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch; an incomplete last batch is left out."""
        return len(self._examples.labels) // self._size

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return inputs, shape (m, 64, 64, 1), and targets, shape (m, labels)."""
        chosen = self._order[index * self._size : (index + 1) * self._size]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        mirror = rng.random(len(chosen)) < 0.5  # noqa: PLR2004 - a coin
        labels = np.where(mirror, MIRRORED[self._examples.labels[chosen]], self._examples.labels[chosen])
        inputs = _covered(_shifted(self._examples.inputs[chosen], mirror, rng), rng)
        return inputs[..., np.newaxis].astype(np.float32), np.eye(len(LABELS), dtype=np.float32)[labels]


class _OutOfFold:
    """Collects out-of-fold answers for plain, stressed and other images, fold by fold."""

    def __init__(self, chests: Mapping[str, Chests], others: Examples) -> None:
        self._chests, self._examples = chests, others
        self.plain = {name: _empty(len(chest_set.folds)) for name, chest_set in chests.items()}
        self.stressed = {
            name: {stress: _empty(len(chest_set.folds)) for stress in STRESSES}
            for name, chest_set in chests.items()
        }
        self.others = _empty(len(others.labels))

    def add_fold(self, network: bytes, fold: int) -> None:
        """Add the answers of the network that was not trained on this fold."""
        for name, chest_set in self._chests.items():
            mask = chest_set.folds == fold
            self.plain[name][mask] = label_probabilities(
                network, downsample(chest_set.inputs[mask], NETWORK_SIDE)
            )
            for stress, change in STRESSES.items():
                changed = [seen(np.asarray(change(Image.fromarray(grey)))) for grey in chest_set.grey[mask]]
                self.stressed[name][stress][mask] = label_probabilities(network, np.stack(changed))
        mask = self._examples.folds == fold
        self.others[mask] = label_probabilities(network, self._examples.inputs[mask])


def _served(name: str, plan: GateSection, examples: Examples, seed: int, work: Workspace) -> bytes:
    """Return a quantised network, from the workspace or newly fitted."""
    digest = fingerprint(f"{plan.model_dump_json()} {seed}", examples.inputs, examples.labels)
    path = work.folder / f"{name}-{digest[:16]}.tflite"
    if path.is_file():
        work.print_line(f"{path.name} exists already")
        return path.read_bytes()
    work.print_line(f"{name}: {len(examples.labels)} examples")
    model = _fitted(plan, examples, seed, work)
    chosen = np.random.default_rng(seed).choice(
        len(examples.labels), min(2 * REPRESENTATIVE, len(examples.labels)), replace=False
    )
    content = to_int8(model, examples.inputs[chosen])
    keep(path, content)
    return content


def _fitted(plan: GateSection, examples: Examples, seed: int, work: Workspace) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model, batches = network(plan.widths), Batches(examples, plan.batch_size, seed)
    fit_small(model, batches, plan, keras.losses.CategoricalCrossentropy(from_logits=True), 0.02, work)
    return model


def _never_seen(kind: str, seed: int) -> Grey:
    drawn = NEVER_TRAINED_ON[kind]
    return np.stack([seen(drawn(np.random.default_rng((seed, number)))) for number in range(_NEVER_SEEN)])


def _shifted(inputs: Grey, mirror: NDArray[np.bool_], rng: np.random.Generator) -> Grey:
    """Mirror the images in the mask, and shift all by a few pixels; the border is repeated."""
    count, side = len(inputs), inputs.shape[1]
    rows, columns = (
        np.clip(np.arange(side) + rng.integers(-_SHIFT, _SHIFT + 1, (count, 1)), 0, side - 1)
        for _ in range(2)
    )
    columns = np.where(mirror[:, np.newaxis], columns[:, ::-1], columns)
    which = np.arange(count)[:, np.newaxis, np.newaxis]
    return np.asarray(inputs[which, rows[:, :, np.newaxis], columns[:, np.newaxis]])


def _covered(inputs: Grey, rng: np.random.Generator) -> Grey:
    """Cover a box in some images, so that no single place decides."""
    for place in np.flatnonzero(rng.random(len(inputs)) < _BOXED):
        high, wide = rng.integers(_SMALLEST_BOX, _LARGEST_BOX, 2)
        top, left = rng.integers(0, inputs.shape[1] - high), rng.integers(0, inputs.shape[2] - wide)
        inputs[place, top : top + high, left : left + wide] = rng.integers(0, 256)
    return inputs


def _empty(count: int) -> Floats:
    return np.full((count, len(LABELS)), np.nan)
