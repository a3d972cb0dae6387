"""A check of patients' names: images of one person are more alike than images of different people.

Some public data sets number their patients per split or per label, so one name stands for several people.
The images show it: pairs of images under one name are compared with pairs in which an image of another
patient, of the same label and split, replaces the second image.

Where the names are known to be right (533 images of ChestX-ray14) the AUC is 0.75, and 0.83 under two labels,
however many months lie between two images.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from training.exploration.duplicates import DETAIL_SIDE
from training.exploration.inventory import ListedImage

_FEWEST = 30  # minimum number of pairs
_PER_PATIENT = 10  # pairs a patient, so that one patient with thirty images does not dominate
_FARTHEST = 8  # pixels of 64: how far a person may shift between two images
_AT_ONCE = 256  # pairs
_SURE = 3  # standard errors of chance
_STRANGERS = 0.55  # below this AUC, by two standard errors, the images are no more alike than strangers'

Floats = NDArray[np.float64]
Relation = tuple[bool, bool]
WORDS: dict[Relation, str] = {
    (True, True): "same split, same label",
    (True, False): "same split, other label",
    (False, True): "other split, same label",
    (False, False): "other split, other label",
}


@dataclass(frozen=True)
class PatientCheck:
    """Likeness of images under one patient's name, for one relation between the two images.

    Attributes:
        same_split: whether the two images are in one split.
        same_label: whether the two images have one label.
        pairs: number of compared pairs.
        auc: chance that such a pair is more alike than a pair of different patients; 0.5: no difference.
        kin: True: certainly above chance; False: certainly close to chance; None: unknown.
    """

    same_split: bool
    same_label: bool
    pairs: int
    auc: float
    kin: bool | None

    @property
    def words(self) -> str:
        """The relation in words."""
        return WORDS[self.same_split, self.same_label]


def check_patients(
    images: Sequence[ListedImage], details: NDArray[np.int8], sha256: Sequence[str]
) -> list[PatientCheck]:
    """Compare images under one name, for each relation that has 30 pairs or more.

    Args:
        images: n images.
        details: of `duplicates.fine_detail`, shape (n, 4096).
        sha256: hashes of the n files; identical files are not compared.
    """
    rng = np.random.default_rng(0)
    pairs = _pairs(images, sha256, rng)
    strangers = _Strangers(images, rng)
    return [
        _compared(relation, np.array(pairs[relation]), strangers, details)
        for relation in WORDS
        if len(pairs[relation]) >= _FEWEST
    ]


class _Strangers:
    """Draws images of other patients, with the same label and split."""

    def __init__(self, images: Sequence[ListedImage], rng: np.random.Generator) -> None:
        self.images = images
        self.rng = rng
        self.alike: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            self.alike[image.split, image.kind].append(place)

    def instead_of(self, place: int) -> int:
        """Return an image of another patient to replace this one, or the same image if there is none."""
        image = self.images[place]
        candidates = self.alike[image.split, image.kind]
        for _ in range(20):
            drawn = candidates[int(self.rng.integers(len(candidates)))]
            if self.images[drawn].radiograph.patient != image.radiograph.patient:
                return drawn
        return place


def _pairs(
    images: Sequence[ListedImage], sha256: Sequence[str], rng: np.random.Generator
) -> dict[Relation, list[tuple[int, int]]]:
    of_patient: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        of_patient[image.radiograph.patient].append(place)
    pairs_of: dict[Relation, list[tuple[int, int]]] = defaultdict(list)
    for places in of_patient.values():
        pairs_of_patient: dict[Relation, list[tuple[int, int]]] = defaultdict(list)
        for one, other in combinations(rng.permutation(places).tolist(), 2):
            if sha256[one] != sha256[other]:
                pairs_of_patient[_relation(images[one], images[other])].append((one, other))
        for relation, pairs in pairs_of_patient.items():
            pairs_of[relation] += pairs[:_PER_PATIENT]
    return pairs_of


def _relation(one: ListedImage, other: ListedImage) -> Relation:
    return one.split == other.split, one.kind == other.kind


def _compared(
    relation: Relation, pairs: NDArray[np.int64], strangers: _Strangers, details: NDArray[np.int8]
) -> PatientCheck:
    from sklearn.metrics import roc_auc_score

    first, second = pairs[:, 0], pairs[:, 1]
    instead = np.array([strangers.instead_of(place) for place in second.tolist()])
    alike = np.concatenate([_alike(details, first, other) for other in (second, instead)])
    count = len(pairs)
    auc = float(roc_auc_score(np.repeat([True, False], count), alike))
    error = math.sqrt((2 * count + 1) / (12 * count**2))
    kin = True if auc - 0.5 > _SURE * error else None
    return PatientCheck(*relation, count, auc, False if auc + 2 * error < _STRANGERS else kin)


def _alike(details: NDArray[np.int8], first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Return the highest correlation of each pair when shifted by up to 8 pixels, shape (m,)."""
    starts = range(0, len(first), _AT_ONCE)
    parts = [slice(start, start + _AT_ONCE) for start in starts]
    return np.concatenate([_moved(details[first[part]], details[second[part]]) for part in parts])


def _moved(first: NDArray[np.int8], second: NDArray[np.int8]) -> Floats:
    one, other = (_spectrum(image) for image in (first, second))
    everywhere = np.fft.irfft2(one * other.conj(), s=(DETAIL_SIDE, DETAIL_SIDE))
    near = np.roll(everywhere, (_FARTHEST, _FARTHEST), axis=(1, 2))[
        :, : 2 * _FARTHEST + 1, : 2 * _FARTHEST + 1
    ]
    return np.asarray(near.max(axis=(1, 2)))


def _spectrum(details: NDArray[np.int8]) -> NDArray[np.complex128]:
    values = details.reshape(-1, DETAIL_SIDE, DETAIL_SIDE).astype(np.float64)
    values /= np.maximum(np.sqrt((values**2).sum(axis=(1, 2), keepdims=True)), 1)
    return np.asarray(np.fft.rfft2(values), dtype=np.complex128)
