"""Training examples of the gate: varied real chests, spoiled chests, and drawings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.data.radiographs import Radiograph
from training.gate.anatomy import LATERALS, OTHER_PARTS
from training.gate.negatives import SPOILED, THINGS
from training.gate.plate import SIDE, Grey
from training.gate.variation import roughened, varied
from training.gate.volume import frontal
from training.recipe import GateSection
from worker.inference.exposure import normalise
from worker.inference.gate import FRONTAL, downsample
from worker.phantom import draw_phantom

LABELS = (FRONTAL, "inverted", "turned_right", "turned_left", "upside_down", "lateral", "not_a_chest")
# The label of the mirror image, for each label.
MIRRORED = np.array([LABELS.index(label) for label in (
    FRONTAL, "inverted", "turned_left", "turned_right", "upside_down", "lateral", "not_a_chest",
)])  # fmt: skip
# Edge of the network's input, and of the model input that it is reduced from, in pixels. The real side of the
# model input makes no difference after the reduction.
NETWORK_SIDE, _INPUT_SIDE = 64, 128
# Half of the drawings and phantoms get the texture of a real film.
_ROUGHENED = 0.5
_PHANTOM_SEEDS = 1_000_000


@dataclass(frozen=True)
class Examples:
    """Inputs of the network, with their labels.

    Attributes:
        inputs: uint8, shape (n, 64, 64).
        labels: indices in `LABELS`, shape (n,).
        folds: the fold whose network does not see the example, shape (n,). All examples of a patient
            are in one fold, and so are all drawings of one kind.
        kinds: for instance `upside down` or `skull`, shape (n,).
    """

    inputs: Grey
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    kinds: NDArray[np.str_]

    def at(self, mask: NDArray[np.bool_]) -> Examples:
        """Return the examples in this mask."""
        return Examples(self.inputs[mask], self.labels[mask], self.folds[mask], self.kinds[mask])


@dataclass(frozen=True)
class Chests:
    """Real frontal radiographs of one set; all attributes have length n.

    Attributes:
        radiographs: labels and patients.
        inputs: whole films as the server sees them, uint8, shape (n, side, side).
        grey: from `checked_grey`, uint8, shape (n, s, s).
        folds: 0 .. folds - 1, shape (n,); all images of a patient are in one fold.
    """

    radiographs: Sequence[Radiograph]
    inputs: Grey
    grey: Grey
    folds: NDArray[np.int64]


_One = tuple[Grey, str, int, str]


def folds_of(chests: Mapping[str, Chests]) -> int:
    """Return the number of folds."""
    return 1 + max(int(chest_set.folds.max()) for chest_set in chests.values())


def draw(chests: Mapping[str, Chests], plan: GateSection) -> Examples:
    """Draw all examples.

    Args:
        chests: real chests by the name of the set.
        plan: the numbers of examples, and the seed: the same seed gives the same examples.
    """
    folds, films = folds_of(chests), [chest_set.grey for chest_set in chests.values()]
    drawn = [
        *(
            one
            for place, (name, chest_set) in enumerate(chests.items())
            for one in _of_chests(name, chest_set, plan.images, (plan.seed, place))
        ),
        *_of_phantoms(films, plan, folds),
        *_of_drawings(films, plan, folds),
    ]
    inputs, labels, numbers, kinds = zip(*drawn, strict=True)
    return Examples(
        np.stack(inputs),
        np.array([LABELS.index(label) for label in labels]),
        np.array(numbers),
        np.array(kinds),
    )


def seen(grey: Grey) -> Grey:
    """Return the input of the gate's network for an image, shape (64, 64)."""
    image = Image.fromarray(grey)
    if grey.shape != (_INPUT_SIDE, _INPUT_SIDE):
        image = image.resize((_INPUT_SIDE, _INPUT_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(downsample(normalise(np.asarray(image))[np.newaxis], NETWORK_SIDE)[0])


def _of_chests(name: str, chests: Chests, images: int, seed: tuple[int, int]) -> Iterator[_One]:
    """Yield two variants of each image and one spoiled variant; more if there are few images."""
    repeats = -(-images // (2 * len(chests.grey)))
    for number, (grey, fold) in enumerate(zip(chests.grey, chests.folds.tolist(), strict=True)):
        rng = np.random.default_rng((*seed, number))
        for _ in range(repeats):
            yield from _sound_and_spoiled(grey, name, fold, rng)


def _of_phantoms(films: Sequence[Grey], plan: GateSection, folds: int) -> Iterator[_One]:
    for number in range(plan.phantoms):
        rng = np.random.default_rng((plan.seed, _PHANTOM_SEEDS, number))
        drawing = frontal(rng) if number % 3 == 0 else _phantom(_PHANTOM_SEEDS + plan.seed + number)
        yield from _sound_and_spoiled(_perhaps_roughened(drawing, films, rng), "phantom", number % folds, rng)


def _of_drawings(films: Sequence[Grey], plan: GateSection, folds: int) -> Iterator[_One]:
    kinds = {**LATERALS, **OTHER_PARTS, **THINGS}
    for place, (kind, drawn) in enumerate(kinds.items()):
        label = "lateral" if kind in LATERALS else "not_a_chest"
        for number in range(plan.drawings * (3 if kind in LATERALS else 1)):
            rng = np.random.default_rng((plan.seed, _PHANTOM_SEEDS + 1, place, number))
            picture = drawn(rng)
            if kind not in THINGS:
                picture = _perhaps_roughened(picture, films, rng)
                picture = 255 - picture if rng.random() < 0.1 else picture  # noqa: PLR2004 - one in ten
            yield seen(varied(picture, _INPUT_SIDE, rng)), label, place % folds, kind


def _sound_and_spoiled(grey: Grey, kind: str, fold: int, rng: np.random.Generator) -> Iterator[_One]:
    image = Image.fromarray(grey)
    for _ in range(2):
        chest = np.asarray(_perhaps_mirrored(image, rng))
        yield seen(varied(chest, _INPUT_SIDE, rng)), FRONTAL, fold, kind
    how = list(SPOILED)
    spoiled = how[int(rng.integers(len(how)))]
    label, change = SPOILED[spoiled]
    # Mirror first: a mirror image of a right turn is a left turn.
    changed = np.asarray(change(_perhaps_mirrored(image, rng), rng))
    yield seen(varied(changed, _INPUT_SIDE, rng, turn=20.0)), label, fold, spoiled


def _perhaps_mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image) if rng.random() < 0.5 else image  # noqa: PLR2004 - a coin


def _perhaps_roughened(drawing: Grey, films: Sequence[Grey], rng: np.random.Generator) -> Grey:
    if rng.random() >= _ROUGHENED:
        return drawing
    film = films[int(rng.integers(len(films)))]
    return roughened(drawing, film[rng.integers(len(film))], rng)


def _phantom(seed: int) -> Grey:
    return np.asarray(draw_phantom(seed, width=SIDE, height=SIDE))
