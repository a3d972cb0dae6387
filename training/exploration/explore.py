"""`nightread explore`: what is in a data set, and what is wrong with it, before a model learns from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.errors import WrongInput
from training.exploration.duplicates import Alike, NearMiss, identical, stored_again
from training.exploration.inventory import KINDS, Inventory, Listed
from training.exploration.patients import PatientCheck, check_patients
from training.exploration.shortcuts import Shortcut, Together, age_of, all_together, numbers, shortcuts
from training.exploration.survey import Survey, survey

_SUBTYPES = {"bacterial", "viral"}


@dataclass(frozen=True)
class Same:
    """Files that show the same picture.

    Attributes:
        files: two or more.
        identical: byte for byte.
        likeness: 1 for identical ones, else the smallest correlation of their detail.
    """

    files: tuple[Listed, ...]
    identical: bool
    likeness: float

    @property
    def kinds(self) -> list[str]:
        """What they are said to show, in the order of KINDS."""
        found = {each.kind for each in self.files}
        return [kind for kind in KINDS if kind in found]

    @property
    def splits(self) -> list[str]:
        """The splits they lie in."""
        return sorted({each.split for each in self.files})

    @property
    def patients(self) -> list[str]:
        """Whose they are said to be."""
        return sorted({each.radiograph.patient for each in self.files})

    @property
    def contradictory(self) -> bool:
        """Whether their labels cannot all be true; a pneumonia of unknown kind may be of either."""
        kinds = set(self.kinds)
        return kinds >= _SUBTYPES or ("normal" in kinds and len(kinds) > 1)


@dataclass(frozen=True)
class Exploration:
    """Everything that was found.

    Attributes:
        inventory: what the data set holds.
        survey: what its files are.
        same: files that show the same picture: contradictory ones first, then those across splits.
        near_misses: pairs of pictures that are called different, and how alike they are, the most alike first.
        short_cuts: the strongest first.
        together: what several numbers are worth together.
        kinships: whether images under one patient's name look as if they were of one person.
    """

    inventory: Inventory
    survey: Survey
    same: list[Same]
    near_misses: list[tuple[Listed, Listed, float]]
    shortcuts: list[Shortcut]
    together: list[Together]
    check_patients: list[PatientCheck]

    @property
    def splits(self) -> list[str]:
        """All splits, in the order in which they are listed."""
        return list(dict.fromkeys(each.split for each in self.inventory.images))

    def counts(self) -> dict[str, dict[str, int]]:
        """Images of each kind in each split, those that cannot be used included."""
        counted = Counter((each.split, each.kind) for each in self.inventory.images)
        kinds = [kind for kind in KINDS if any(kind == found for _, found in counted)]
        return {split: {kind: counted[split, kind] for kind in kinds} for split in self.splits}

    def images_of(self) -> dict[str, list[Listed]]:
        """The images of each patient."""
        found: dict[str, list[Listed]] = defaultdict(list)
        for each in self.inventory.images:
            found[each.radiograph.patient].append(each)
        return found

    def patients_across(self) -> dict[str, list[Listed]]:
        """Patients with images in more than one split, and these images."""
        return {who: images for who, images in self.images_of().items() if len({i.split for i in images}) > 1}

    def patients_of_both(self, one: str, other: str) -> int:
        """How many patients have images of both kinds."""
        return sum({one, other} <= {each.kind for each in images} for images in self.images_of().values())

    def unlikely_ages(self) -> list[Listed]:
        """Images with an age that is no number from 0 to 120."""
        aged = [each for each in self.inventory.images if "age_years" in each.radiograph.traits]
        return [each for each in aged if np.isnan(age_of(each.radiograph.traits["age_years"]))]


def explore(inventory: Inventory, advance: Callable[[int], None]) -> Exploration:
    """Read all images once, and look for what would spoil a training or its measurement.

    Args:
        inventory: of `inventory.take_inventory`.
        advance: told how many more images are read.

    Raises:
        WrongInput: not one image can be read.
    """
    measured = survey(inventory.images, advance)
    if not measured.images:
        raise WrongInput(f"Not one of {len(inventory.images)} images can be read: {_first_reason(measured)}")
    same, near_misses = _same_pictures(measured)
    chosen = measured.outside_test()
    pneumonia = np.array([each.radiograph.pneumonia for each in measured.images], dtype=bool)
    return Exploration(
        inventory=inventory,
        survey=measured,
        same=same,
        near_misses=near_misses,
        shortcuts=shortcuts(pneumonia[chosen], numbers(measured)),
        together=all_together(measured),
        check_patients=check_patients(
            measured.images, measured.details, [each.sha256 for each in measured.files]
        ),
    )


def document(found: Exploration) -> dict[str, Any]:
    """The same findings as one JSON document."""
    return {
        "data": found.inventory.title,
        "images": len(found.inventory.images),
        "patients": len(found.images_of()),
        "splits": found.counts(),
        "images_per_patient": _images_per_patient(found),
        "turned_away": [
            {"file": each.listed.name, "code": each.code, "reason": each.sentence}
            for each in found.survey.turned_away
        ],
        "ignored": [{"file": name, "reason": reason} for name, reason in found.inventory.ignored],
        "identical": [_described(each) for each in found.same if each.identical],
        "stored_again": [_described(each) for each in found.same if not each.identical],
        "near_misses": [
            {"files": [one.name, other.name], "likeness": round(likeness, 4)}
            for one, other, likeness in found.near_misses
        ],
        "patients_across_splits": {
            who: [each.name for each in images] for who, images in found.patients_across().items()
        },
        "kinship": [
            {"relation": each.words, "pairs": each.pairs, "auc": each.auc, "kin": each.kin}
            for each in found.check_patients
        ],
        "short_cuts": [_short_cut(each) for each in found.shortcuts],
        "together": {each.name: each.auc for each in found.together},
        "sizes": _sizes(found.survey),
        "modes": dict(Counter(each.mode for each in found.survey.files)),
    }


def _same_pictures(measured: Survey) -> tuple[list[Same], list[tuple[Listed, Listed, float]]]:
    sha256 = [each.sha256 for each in measured.files]
    again, missed = stored_again(measured.hashes, measured.details, sha256)
    same = [_same(measured.images, each, identical=True) for each in identical(sha256)]
    same += [_same(measured.images, each, identical=False) for each in again]
    ordered = sorted(
        same, key=lambda each: (not each.contradictory, len(each.splits) == 1, not each.identical)
    )
    return ordered, [_named(measured.images, each) for each in missed]


def _same(images: Sequence[Listed], alike: Alike, *, identical: bool) -> Same:
    return Same(tuple(images[at] for at in alike.files), identical, alike.likeness)


def _named(images: Sequence[Listed], missed: NearMiss) -> tuple[Listed, Listed, float]:
    one, other = missed.files
    return images[one], images[other], missed.likeness


def _first_reason(measured: Survey) -> str:
    first = measured.turned_away[0]
    return f"{first.listed.name}: {first.sentence}"


def _described(same: Same) -> dict[str, Any]:
    return {
        "files": [each.name for each in same.files],
        "kinds": same.kinds,
        "splits": same.splits,
        "patients": same.patients,
        "contradictory": same.contradictory,
        "likeness": round(same.likeness, 4),
    }


def _short_cut(each: Shortcut) -> dict[str, Any]:
    return {
        "name": each.name,
        "auc": each.auc,
        "auc_after_preprocessing": each.evened_auc,
        "normal": each.normal,
        "pneumonia": each.pneumonia,
        "telling": each.telling,
    }


def _images_per_patient(found: Exploration) -> dict[str, float]:
    counted = np.array([len(images) for images in found.images_of().values()])
    return {"median": float(np.median(counted)), "mean": float(counted.mean()), "most": int(counted.max())}


def _sizes(measured: Survey) -> dict[str, Any]:
    sizes = np.array([each.size for each in measured.files])
    return {
        "smallest": [int(value) for value in sizes.min(axis=0)],
        "median": [float(value) for value in np.median(sizes, axis=0)],
        "largest": [int(value) for value in sizes.max(axis=0)],
        "median_bytes": float(np.median([each.bytes for each in measured.files])),
    }
