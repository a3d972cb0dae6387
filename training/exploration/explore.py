"""The checks of `nightread explore`, on a whole data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.errors import WrongInput
from training.exploration.duplicates import Alike, NearMiss, identical, stored_again
from training.exploration.inventory import KINDS, Inventory, ListedImage
from training.exploration.patients import PatientCheck, check_patients
from training.exploration.shortcuts import Shortcut, Together, age_of, all_together, numbers, shortcuts
from training.exploration.survey import Survey, survey

_SUBTYPES = {"bacterial", "viral"}


@dataclass(frozen=True)
class SameImages:
    """Files that show the same picture.

    Attributes:
        files: two or more.
        identical: whether their bytes are identical.
        likeness: 1 for identical files, otherwise the smallest correlation of their details.
    """

    files: tuple[ListedImage, ...]
    identical: bool
    likeness: float

    @property
    def kinds(self) -> list[str]:
        """The labels of the files, in the order of KINDS."""
        kinds = {file.kind for file in self.files}
        return [kind for kind in KINDS if kind in kinds]

    @property
    def splits(self) -> list[str]:
        """The splits of the files."""
        return sorted({file.split for file in self.files})

    @property
    def patients(self) -> list[str]:
        """The patients of the files."""
        return sorted({file.radiograph.patient for file in self.files})

    @property
    def contradictory(self) -> bool:
        """Whether the labels cannot all be true; pneumonia of unknown kind fits both kinds."""
        kinds = set(self.kinds)
        return kinds >= _SUBTYPES or ("normal" in kinds and len(kinds) > 1)


@dataclass(frozen=True)
class Exploration:
    """All findings about a data set.

    Attributes:
        inventory: the files of the data set.
        survey: measurements of the images.
        same: groups of files with the same picture: contradictory ones first, then those across splits.
        near_misses: the most similar pairs that do not count as the same, with their likeness.
        shortcuts: the strongest first.
        together: shortcuts of several numbers together.
        patient_checks: whether images under one patient's name look as if they showed one person.
    """

    inventory: Inventory
    survey: Survey
    same: list[SameImages]
    near_misses: list[tuple[ListedImage, ListedImage, float]]
    shortcuts: list[Shortcut]
    together: list[Together]
    patient_checks: list[PatientCheck]

    @property
    def splits(self) -> list[str]:
        """All splits, in the order of the listing."""
        return list(dict.fromkeys(image.split for image in self.inventory.images))

    def counts(self) -> dict[str, dict[str, int]]:
        """Count the images of each kind in each split, including unusable ones."""
        counted = Counter((image.split, image.kind) for image in self.inventory.images)
        kinds = [kind for kind in KINDS if any(kind == present for _, present in counted)]
        return {split: {kind: counted[split, kind] for kind in kinds} for split in self.splits}

    def images_of(self) -> dict[str, list[ListedImage]]:
        """Return the images of each patient."""
        images_of_patient: dict[str, list[ListedImage]] = defaultdict(list)
        for image in self.inventory.images:
            images_of_patient[image.radiograph.patient].append(image)
        return images_of_patient

    def patients_across(self) -> dict[str, list[ListedImage]]:
        """Return the patients with images in more than one split, and these images."""
        return {who: images for who, images in self.images_of().items() if len({i.split for i in images}) > 1}

    def patients_of_both(self, one: str, other: str) -> int:
        """Count the patients who have images of both kinds."""
        return sum({one, other} <= {image.kind for image in images} for images in self.images_of().values())

    def unlikely_ages(self) -> list[ListedImage]:
        """Return images with an age that is not a number from 0 to 120."""
        aged = [image for image in self.inventory.images if "age_years" in image.radiograph.traits]
        return [image for image in aged if np.isnan(age_of(image.radiograph.traits["age_years"]))]


def explore(inventory: Inventory, advance: Callable[[int], None]) -> Exploration:
    """Read all images once, and look for problems that would spoil a training or its evaluation.

    Args:
        inventory: of `inventory.take_inventory`.
        advance: called with the number of images of each finished batch.

    Raises:
        WrongInput: no image can be read.
    """
    measured = survey(inventory.images, advance)
    if not measured.images:
        raise WrongInput(f"None of {len(inventory.images)} images can be read: {_first_reason(measured)}")
    same, near_misses = _same_pictures(measured)
    chosen = measured.outside_test()
    pneumonia = np.array([image.radiograph.pneumonia for image in measured.images], dtype=bool)
    return Exploration(
        inventory=inventory,
        survey=measured,
        same=same,
        near_misses=near_misses,
        shortcuts=shortcuts(pneumonia[chosen], numbers(measured)),
        together=all_together(measured),
        patient_checks=check_patients(
            measured.images, measured.details, [file.sha256 for file in measured.files]
        ),
    )


def document(exploration: Exploration) -> dict[str, Any]:
    """Return the findings as one JSON document."""
    return {
        "data": exploration.inventory.title,
        "images": len(exploration.inventory.images),
        "patients": len(exploration.images_of()),
        "splits": exploration.counts(),
        "images_per_patient": _images_per_patient(exploration),
        "turned_away": [
            {"file": rejection.listed.name, "code": rejection.code, "reason": rejection.sentence}
            for rejection in exploration.survey.rejected
        ],
        "ignored": [{"file": name, "reason": reason} for name, reason in exploration.inventory.ignored],
        "identical": [_described(group) for group in exploration.same if group.identical],
        "stored_again": [_described(group) for group in exploration.same if not group.identical],
        "near_misses": [
            {"files": [one.name, other.name], "likeness": round(likeness, 4)}
            for one, other, likeness in exploration.near_misses
        ],
        "patients_across_splits": {
            who: [image.name for image in images] for who, images in exploration.patients_across().items()
        },
        "kinship": [
            {"relation": check.words, "pairs": check.pairs, "auc": check.auc, "kin": check.kin}
            for check in exploration.patient_checks
        ],
        "short_cuts": [_shortcut(shortcut) for shortcut in exploration.shortcuts],
        "together": {model.name: model.auc for model in exploration.together},
        "sizes": _sizes(exploration.survey),
        "modes": dict(Counter(file.mode for file in exploration.survey.files)),
    }


def _same_pictures(measured: Survey) -> tuple[list[SameImages], list[tuple[ListedImage, ListedImage, float]]]:
    sha256 = [file.sha256 for file in measured.files]
    again, missed = stored_again(measured.hashes, measured.details, sha256)
    same = [_same_images(measured.images, alike, identical=True) for alike in identical(sha256)]
    same += [_same_images(measured.images, alike, identical=False) for alike in again]
    ordered = sorted(
        same, key=lambda group: (not group.contradictory, len(group.splits) == 1, not group.identical)
    )
    return ordered, [_named(measured.images, pair) for pair in missed]


def _same_images(images: Sequence[ListedImage], alike: Alike, *, identical: bool) -> SameImages:
    return SameImages(tuple(images[at] for at in alike.files), identical, alike.likeness)


def _named(images: Sequence[ListedImage], missed: NearMiss) -> tuple[ListedImage, ListedImage, float]:
    one, other = missed.files
    return images[one], images[other], missed.likeness


def _first_reason(measured: Survey) -> str:
    first = measured.rejected[0]
    return f"{first.listed.name}: {first.sentence}"


def _described(same: SameImages) -> dict[str, Any]:
    return {
        "files": [file.name for file in same.files],
        "kinds": same.kinds,
        "splits": same.splits,
        "patients": same.patients,
        "contradictory": same.contradictory,
        "likeness": round(same.likeness, 4),
    }


def _shortcut(shortcut: Shortcut) -> dict[str, Any]:
    return {
        "name": shortcut.name,
        "auc": shortcut.auc,
        "auc_after_preprocessing": shortcut.evened_auc,
        "normal": shortcut.normal,
        "pneumonia": shortcut.pneumonia,
        "telling": shortcut.telling,
    }


def _images_per_patient(exploration: Exploration) -> dict[str, float]:
    counted = np.array([len(images) for images in exploration.images_of().values()])
    return {"median": float(np.median(counted)), "mean": float(counted.mean()), "most": int(counted.max())}


def _sizes(measured: Survey) -> dict[str, Any]:
    sizes = np.array([file.size for file in measured.files])
    return {
        "smallest": [int(value) for value in sizes.min(axis=0)],
        "median": [float(value) for value in np.median(sizes, axis=0)],
        "largest": [int(value) for value in sizes.max(axis=0)],
        "median_bytes": float(np.median([file.bytes for file in measured.files])),
    }
