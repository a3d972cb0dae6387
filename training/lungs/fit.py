"""Fits lung networks to masks: one for each fold, which finds the lungs of patients that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.augment import augmented, moved
from training.data.cohort import Cohort
from training.export.litert import REPRESENTATIVE, to_int8
from training.fit.callbacks import fingerprint
from training.fit.crossfit import Workspace
from training.fit.small import fit_small, keep
from training.lungs.masks import Masks
from training.lungs.network import lung_network
from training.recipe import AugmentSection, LungsSection
from worker.inference.lungs import NETWORK_SIDE

# Edge of the images in memory, from which each variant is drawn.
_SIDE = 96
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """Images with masks.

    Attributes:
        grey: before the exposure is normalised, shape (n, 96, 96).
        lung: share of each place that is lung, 0..255, shape (n, 96, 96).
    """

    grey: Grey
    lung: Grey


def examples_of(cohort: Cohort, masks: Masks, chosen: NDArray[np.bool_]) -> Examples:
    """Return the images with a mask, as far as they are chosen.

    Args:
        cohort: the images.
        masks: of some of them.
        chosen: which images of the cohort may be used, shape (n,).
    """
    used = np.flatnonzero(chosen[masks.of])
    return Examples(_reduced(cohort.grey[masks.of[used]]), _reduced(masks.lung[used]))


def fit_lungs(
    name: str, plan: LungsSection, augment: AugmentSection, examples: Examples, work: Workspace
) -> Path:
    """Return the file of a quantised lung network, from the workspace or newly fitted.

    Args:
        name: prefix of its file in the workspace.
        plan: the section [lungs].
        augment: random changes of the images; its geometry is that of `plan`.
        examples: images with masks.
        work: the workspace.
    """
    ranges = augment.model_copy(update=plan.geometry())
    digest = fingerprint(f"{_fitting(plan)} {ranges.model_dump_json()}", examples.grey, examples.lung)
    path = work.folder / f"{name}-{digest[:16]}.tflite"
    if path.is_file():
        work.print_line(f"{path.name} exists already")
        return path
    work.print_line(f"{name}: {len(examples.grey)} masks")
    content = _fitted(plan, ranges, examples, work)
    keep(path, content)
    return path


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Random variants of images and masks, in a new order each epoch."""

    def __init__(self, plan: LungsSection, augment: AugmentSection, examples: Examples) -> None:
        """Draw the order of the first epoch."""
        super().__init__()
        self._plan, self._augment, self._examples, self._epoch = plan, augment, examples, -1
        self._size = min(plan.batch_size, len(examples.grey))
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._order = np.random.default_rng((self._plan.seed, self._epoch)).permutation(
            len(self._examples.grey)
        )

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch; an incomplete last batch is left out."""
        return len(self._examples.grey) // self._size

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return inputs and the share of each place that is lung, 0..1; both of shape (m, side, side, 1)."""
        chosen = self._order[index * self._size : (index + 1) * self._size]
        pairs = [self.variant(int(number)) for number in chosen]
        inputs, lungs = (
            np.stack(part)[..., np.newaxis].astype(np.float32) for part in zip(*pairs, strict=True)
        )
        return inputs, lungs / np.float32(255)

    def variant(self, number: int) -> tuple[Grey, Grey]:
        """Draw a variant of an image, and its mask in the same place."""
        seed = (self._plan.seed, self._epoch, number)
        image = augmented(
            self._examples.grey[number], NETWORK_SIDE, self._augment, np.random.default_rng(seed)
        )
        # The geometry is drawn first, so the same stream moves the mask in the same way.
        return image, moved(
            self._examples.lung[number], NETWORK_SIDE, self._augment, np.random.default_rng(seed)
        )


def loss(lung: Any, log_odds: Any) -> Any:
    """Return cross-entropy plus one minus the soft Dice coefficient (Milletari et al., 3DV 2016) of each image."""
    entropy = keras.ops.binary_crossentropy(lung, log_odds, from_logits=True)
    found = keras.ops.sigmoid(log_odds)
    both, total = (keras.ops.sum(part, axis=(1, 2, 3)) for part in (found * lung, found + lung))
    dice = (2 * both + 1) / (total + 1)
    return keras.ops.mean(entropy, axis=(1, 2, 3)) + 1 - dice


def _fitted(plan: LungsSection, augment: AugmentSection, examples: Examples, work: Workspace) -> bytes:
    keras.utils.set_random_seed(plan.seed)
    model, batches = lung_network(NETWORK_SIDE, plan.widths), Batches(plan, augment, examples)
    fit_small(model, batches, plan, loss, 0.01, work)
    count = min(REPRESENTATIVE, len(examples.grey))
    chosen = np.random.default_rng(plan.seed).choice(len(examples.grey), count, replace=False)
    return to_int8(model, np.stack([batches.variant(int(number))[0] for number in chosen]))


def _fitting(plan: LungsSection) -> str:
    """Return what the network depends on: all choices but how its answer is used."""
    return plan.model_dump_json(exclude={"margin", "least_area"})


def _reduced(images: Grey) -> Grey:
    """Average images, shape (n, s, s), down to the side that they are kept in."""
    size = (_SIDE, _SIDE)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images]
    )
