"""Radiographs on disk: what they show, whose they are, and their pixels."""

from __future__ import annotations

import csv
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
# One child has several images. The same number under IM- and NORMAL2-IM- may or may not be the
# same child; counting them as one can only make a split more careful.
_PATIENT = re.compile(r"(?:NORMAL2-)?(IM-\d+)|(person\d+)", re.IGNORECASE)
_SUBTYPE = re.compile(r"bacteria|virus", re.IGNORECASE)


@dataclass(frozen=True)
class Radiograph:
    """One image and what is known of it.

    Attributes:
        path: the file.
        pneumonia: what the data set says.
        subtype: NORMAL, BACTERIAL or VIRAL; None: pneumonia of unknown kind.
        patient: whoever has the same one may not be on both sides of a split.
        traits: age_years, sex, view, as far as the table has them.
    """

    path: Path
    pneumonia: bool
    subtype: int | None
    patient: str
    traits: dict[str, str] = field(default_factory=dict)


def list_folders(root: Path) -> list[Radiograph]:
    """List a folder that holds NORMAL/ and PNEUMONIA/, as on Kaggle.

    Raises:
        WrongInput: one of the two is missing or empty.
    """
    found: list[Radiograph] = []
    for name, pneumonia in (("NORMAL", False), ("PNEUMONIA", True)):
        folder = root / name
        if not folder.is_dir():
            raise WrongInput(f"{root} is not a data set: it has no folder {name}.")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        if not paths:
            raise WrongInput(f"{folder} holds no JPEG or PNG file.")
        found += [
            Radiograph(path, pneumonia, subtype_of(path, pneumonia=pneumonia), patient_of(path))
            for path in paths
        ]
    return found


def list_table(table: Path) -> list[Radiograph]:
    """List the images of a CSV with the columns file and label.

    Paths are relative to the table. `label` is normal or pneumonia, or bacterial or viral.

    Raises:
        WrongInput: the table is missing, or a row says nothing that can be used.
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
        raise WrongInput(f"{table} has the label {row['label']!r}; one of {', '.join(subtypes)} is needed.")
    if not path.is_file():
        raise WrongInput(f"{table} names {row['file']}, which is not there.")
    traits = {key: row[key] for key in ("age_years", "sex", "view") if row.get(key)}
    return Radiograph(path, label != "normal", subtypes[label], row.get("patient_id") or path.stem, traits)


def subtype_of(path: Path, *, pneumonia: bool) -> int | None:
    """Read the subtype from a file's name, for instance `person7_virus_12.jpeg`."""
    if not pneumonia:
        return NORMAL
    found = _SUBTYPE.search(path.stem)
    if found is None:
        return None
    return BACTERIAL if found.group().lower() == "bacteria" else VIRAL


def patient_of(path: Path) -> str:
    """Read the patient from a file's name; the whole stem where it names none."""
    found = _PATIENT.match(path.stem)
    if found is None:
        return path.stem
    return (found.group(1) or found.group(2)).lower()


def fold_of_each(radiographs: Sequence[Radiograph], folds: int, seed: int) -> NDArray[np.int64]:
    """Divide images into folds by patient, stratified by class.

    Returns:
        The fold of each image, 0 .. folds - 1, shape (n,). A patient's images are all in one.

    Raises:
        WrongInput: a class has fewer patients than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [each.patient for each in radiographs]
    classes = [-1 if each.subtype is None else each.subtype for each in radiographs]
    for pneumonia in (False, True):
        patients = {each.patient for each in radiographs if each.pneumonia is pneumonia}
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
        radiographs: those that could be read, in order.
        pixels: uint8, shape (n, side, side).
        turned_away: the others, each with the code of its rejection.
    """

    radiographs: list[Radiograph]
    pixels: NDArray[np.uint8]
    turned_away: list[tuple[Radiograph, str]]


def load(
    radiographs: Sequence[Radiograph],
    side: int,
    read: Callable[[bytes, int], NDArray[np.uint8]],
) -> Loaded:
    """Read and decode images once, with a function of `worker.inference.preprocess`."""
    kept: list[Radiograph] = []
    turned_away: list[tuple[Radiograph, str]] = []
    pixels = np.empty((len(radiographs), side, side), dtype=np.uint8)
    for each in radiographs:
        try:
            pixels[len(kept)] = read(each.path.read_bytes(), side)
        except RejectedImage as rejection:
            turned_away.append((each, rejection.code))
        else:
            kept.append(each)
    return Loaded(kept, pixels[: len(kept)], turned_away)


def targets(radiographs: Sequence[Radiograph]) -> NDArray[np.float32]:
    """Training targets, shape (n, 3). A pneumonia of unknown kind is half of each."""
    known = np.eye(3, dtype=np.float32)
    unknown = np.array([0.0, 0.5, 0.5], dtype=np.float32)
    return np.stack([unknown if each.subtype is None else known[each.subtype] for each in radiographs])
