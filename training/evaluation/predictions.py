"""A CSV with one line an image, for statistics by other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from training.data.radiographs import Radiograph
from training.evaluation.scoring import ScoredImages
from worker.inference.bundle import LABELS

COLUMNS = (
    "file", "label", "outcome", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "verdict", "reason",
    "patient_id", "age_years", "sex", "view", "distance",
)  # fmt: skip
_TRAITS = ("age_years", "sex", "view")


def write_predictions(path: Path, images: ScoredImages, root: Path) -> None:
    """Write a CSV with the columns `COLUMNS`, in the order in which the images were listed.

    Probabilities are written with full precision, so that every figure can be recomputed.

    Args:
        path: the file to write.
        images: the scored and the rejected images.
        root: paths of files below it are written relative to it.
    """
    # Names as the file system has them: they need not be text.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        rows = csv.writer(lines)
        rows.writerow(COLUMNS)
        rows.writerows(_rows(images, root))


def name_of(radiograph: Radiograph, root: Path) -> str:
    """Return the path of a file relative to its data set."""
    path = radiograph.path
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def label_of(radiograph: Radiograph) -> str:
    """Return the label: normal, bacterial, viral, or pneumonia of unknown kind."""
    return "pneumonia" if radiograph.subtype is None else LABELS[radiograph.subtype]


def _rows(images: ScoredImages, root: Path) -> Iterator[list[object]]:
    rejected = {rejection.place: rejection for rejection in images.rejected}
    scored = iter(range(len(images.radiographs)))
    for place in range(len(images.radiographs) + len(rejected)):
        if place in rejected:
            away = rejected[place]
            values = ["rejected", "", "", "", "", "", away.sentence]
            radiograph, distance = away.radiograph, None
        else:
            index = next(scored)
            p = [*images.scores.probabilities[index], images.scores.p_pneumonia[index]]
            values = ["scored", *map(repr, map(float, p)), images.verdicts[index].value, ""]
            radiograph, distance = images.radiographs[index], images.distances[index]
        traits = [radiograph.traits.get(name, "") for name in _TRAITS]
        yield [
            _no_formula(name_of(radiograph, root)),
            label_of(radiograph),
            *values,
            radiograph.patient,
            *traits,
            "" if distance is None else distance,
        ]


def _no_formula(name: str) -> str:
    """Quote names that a spreadsheet would run as a formula (OWASP, CSV injection)."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
