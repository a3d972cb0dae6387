"""One line an image, so that people can do their own statistics."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from training.data.radiographs import Radiograph
from training.evaluation.scoring import ScoredImages
from worker.inference.bundle import LABELS

COLUMNS = (
    "file", "label", "outcome", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "verdict", "reason",
    "patient_id", "age_years", "sex", "view",
)  # fmt: skip
_TRAITS = ("age_years", "sex", "view")


def write_predictions(path: Path, examined: ScoredImages, root: Path) -> None:
    """Write a CSV with the columns `COLUMNS`, in the order in which the images were listed.

    Probabilities are written in full, so that every figure can be computed again from them.

    Args:
        path: of the file to write.
        examined: what was scored and what was turned away.
        root: files below it are named relative to it.
    """
    # As the file system has it: a name need not be text.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        rows = csv.writer(lines)
        rows.writerow(COLUMNS)
        rows.writerows(_rows(examined, root))


def name_of(radiograph: Radiograph, root: Path) -> str:
    """A file's name relative to the set it belongs to."""
    path = radiograph.path
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def label_of(radiograph: Radiograph) -> str:
    """What the set says: normal, bacterial, viral, or pneumonia of unknown kind."""
    return "pneumonia" if radiograph.subtype is None else LABELS[radiograph.subtype]


def _rows(examined: ScoredImages, root: Path) -> Iterator[list[object]]:
    turned_away = {each.place: each for each in examined.turned_away}
    scored = iter(range(len(examined.radiographs)))
    for place in range(len(examined.radiographs) + len(turned_away)):
        if place in turned_away:
            away = turned_away[place]
            values = ["rejected", "", "", "", "", "", away.sentence]
            radiograph = away.radiograph
        else:
            index = next(scored)
            p = [*examined.scores.probabilities[index], examined.scores.p_pneumonia[index]]
            values = ["scored", *map(repr, map(float, p)), examined.verdicts[index].value, ""]
            radiograph = examined.radiographs[index]
        traits = [radiograph.traits.get(name, "") for name in _TRAITS]
        yield [
            _no_formula(name_of(radiograph, root)),
            label_of(radiograph),
            *values,
            radiograph.patient,
            *traits,
        ]


def _no_formula(name: str) -> str:
    """A spreadsheet runs a cell that starts so (OWASP, CSV injection)."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
