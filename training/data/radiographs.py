"""Radiographs on disk: labels, patients and pixels."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import WrongInput
from worker.errors import RejectedImage

NORMAL, BACTERIAL, VIRAL = 0, 1, 2
_SUFFIXES = {".jpeg", ".jpg", ".png"}
# A child has several images. The same number under IM- and NORMAL2-IM- may or may not be the same child;
# treating them as one child is the safe choice for a split.
_PATIENT = re.compile(r"(?:NORMAL2-)?(IM-\d+)|(person\d+)", re.IGNORECASE)
_SUBTYPE = re.compile(r"bacteria|virus", re.IGNORECASE)


@dataclass(frozen=True)
class Radiograph:
    """One labelled image.

    Attributes:
        path: the file.
        pneumonia: label of the data set.
        subtype: NORMAL, BACTERIAL or VIRAL; None: pneumonia of unknown kind.
        patient: identifier. All images of a patient are on one side of a split.
        traits: age_years, sex and view, as far as the table has them.
        weight: for how many images it stands, more than 0; None: the table has no weights.
    """

    path: Path
    pneumonia: bool
    subtype: int | None
    patient: str
    traits: dict[str, str] = field(default_factory=dict)
    weight: float | None = None


def list_folders(root: Path) -> list[Radiograph]:
    """List a folder that holds NORMAL/ and PNEUMONIA/, as on Kaggle.

    Raises:
        WrongInput: one of the two is missing or empty.
    """
    radiographs: list[Radiograph] = []
    for name, pneumonia in (("NORMAL", False), ("PNEUMONIA", True)):
        folder = root / name
        if not folder.is_dir():
            raise WrongInput(f"{root} is not a data set: it has no folder {name}.")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        if not paths:
            raise WrongInput(f"{folder} holds no JPEG or PNG file.")
        radiographs += [
            Radiograph(path, pneumonia, subtype_of(path, pneumonia=pneumonia), patient_of(path))
            for path in paths
        ]
    return radiographs


def list_table(table: Path) -> list[Radiograph]:
    """List the images of a CSV with the columns file and label.

    Paths are relative to the table. `label` is normal or pneumonia, or bacterial or viral. `weight`, which a table need not
    have, is the number of images for which an image stands.

    Raises:
        WrongInput: the table is missing, or a row is not valid.
    """
    if not table.is_file():
        raise WrongInput(f"There is no table {table}.")
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"file", "label"} <= rows[0].keys():
        raise WrongInput(f"{table} needs the columns file and label, and at least one row.")
    return [_from_row(table, row) for row in rows]


def _from_row(table: Path, row: dict[str, str]) -> Radiograph:
    path, label = table.parent / row["file"], row["label"].strip().lower()
    subtypes = {"normal": NORMAL, "bacterial": BACTERIAL, "viral": VIRAL, "pneumonia": None}
    if label not in subtypes:
        raise WrongInput(
            f"{table} has the label {row['label']!r}. Labels must be one of {', '.join(subtypes)}."
        )
    if not path.is_file():
        raise WrongInput(f"{table} names {row['file']}, which does not exist.")
    traits = {key: row[key] for key in ("age_years", "sex", "view") if row.get(key)}
    patient = row.get("patient_id") or path.stem
    return Radiograph(path, label != "normal", subtypes[label], patient, traits, _weight(table, row))


def _weight(table: Path, row: dict[str, str]) -> float | None:
    text = row.get("weight")
    if text is None:
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise WrongInput(f"{table} has the weight {text!r}. A weight must be a number above 0.")
    return weight


def subtype_of(path: Path, *, pneumonia: bool) -> int | None:
    """Return the subtype in a file's name, for instance of `person7_virus_12.jpeg`."""
    if not pneumonia:
        return NORMAL
    match = _SUBTYPE.search(path.stem)
    if match is None:
        return None
    return BACTERIAL if match.group().lower() == "bacteria" else VIRAL


def patient_of(path: Path) -> str:
    """Return the patient in a file's name, or the whole stem if it names none."""
    match = _PATIENT.match(path.stem)
    if match is None:
        return path.stem
    return (match.group(1) or match.group(2)).lower()


def fold_of_each(radiographs: Sequence[Radiograph], folds: int, seed: int) -> NDArray[np.int64]:
    """Divide images into folds by patient, stratified by class.

    Returns:
        The fold of each image, 0 .. folds - 1, shape (n,). All images of a patient are in one fold.

    Raises:
        WrongInput: a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [radiograph.patient for radiograph in radiographs]
    classes = [-1 if radiograph.subtype is None else radiograph.subtype for radiograph in radiographs]
    for pneumonia in (False, True):
        patients = {radiograph.patient for radiograph in radiographs if radiograph.pneumonia is pneumonia}
        if len(patients) < folds:
            kind = "pneumonia" if pneumonia else "normal"
            raise WrongInput(f"{len(patients)} patients with {kind} images are too few for {folds} folds.")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.empty(len(groups), dtype=np.int64)
    for number, (_, chosen) in enumerate(splitter.split(np.zeros(len(groups)), classes, groups)):
        fold[chosen] = number
    return fold


@dataclass(frozen=True)
class Loaded:
    """Images in memory.

    Attributes:
        radiographs: the readable images, in order.
        pixels: uint8, shape (n, side, side).
        rejected: the other images, each with its rejection code.
    """

    radiographs: list[Radiograph]
    pixels: NDArray[np.uint8]
    rejected: list[tuple[Radiograph, str]]


def load(
    radiographs: Sequence[Radiograph],
    side: int,
    read: Callable[[bytes, int], NDArray[np.uint8]],
) -> Loaded:
    """Read and decode each image once, with a function of `worker.inference.preprocess`."""
    readable: list[Radiograph] = []
    rejected: list[tuple[Radiograph, str]] = []
    pixels = np.empty((len(radiographs), side, side), dtype=np.uint8)
    for radiograph in radiographs:
        try:
            pixels[len(readable)] = read(radiograph.path.read_bytes(), side)
        except RejectedImage as rejection:
            rejected.append((radiograph, rejection.code))
        else:
            readable.append(radiograph)
    return Loaded(readable, pixels[: len(readable)], rejected)


def targets(radiographs: Sequence[Radiograph]) -> NDArray[np.float32]:
    """Return training targets, shape (n, 3). Pneumonia of unknown kind is half bacterial, half viral."""
    known = np.eye(3, dtype=np.float32)
    unknown = np.array([0.0, 0.5, 0.5], dtype=np.float32)
    return np.stack(
        [unknown if radiograph.subtype is None else known[radiograph.subtype] for radiograph in radiographs]
    )
