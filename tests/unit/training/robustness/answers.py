"""Answers made by hand, and a set of images that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from training.data.radiographs import Radiograph
from training.robustness.changes import Change
from training.robustness.measuring import CROPPED, Answer, Measured
from worker.inference.bundle import Bundle
from worker.inference.triage import OperatingPoint, Verdict

CLEAR: dict[str, Any] = {"p": 0.1, "verdict": Verdict.CLEAR, "rejection": None}
FLAGGED: dict[str, Any] = {"p": 0.9, "verdict": Verdict.FLAGGED, "rejection": None}
MARKED: dict[str, Any] = {"p": 0.1, "verdict": Verdict.UNCERTAIN, "rejection": None, "marks": (CROPPED,)}
REJECTED: dict[str, Any] = {"p": None, "verdict": None, "rejection": "on_a_page"}


def measured(
    untouched: Sequence[dict[str, Any]],
    cells: Mapping[str, Sequence[dict[str, Any]]],
    *,
    patients: Sequence[str] = (),
    rejected: Sequence[str] = (),
    must_be_caught: bool = False,
) -> Measured:
    """Return a set of which the first half is normal; without `patients` each image has its own."""
    names = patients or [str(number) for number in range(len(untouched))]
    radiographs = [
        Radiograph(Path(f"{number}.jpeg"), pneumonia=number >= len(untouched) / 2, subtype=None, patient=name)
        for number, name in enumerate(names)
    ]
    point = OperatingPoint("balanced", 0.5, 0.3, 0.5)
    bundle = SimpleNamespace(name="hand", version="1.0", sha256="0" * 64, operating_point=point)
    lost = [
        (Radiograph(Path(name), pneumonia=True, subtype=None, patient=name), "on_a_page") for name in rejected
    ]
    return Measured(
        cast("Bundle", bundle),
        radiographs,
        [Answer(**answer) for answer in untouched],
        [Change(name, None, "", lambda picture, _: picture, must_be_caught=must_be_caught) for name in cells],
        [[Answer(**answer) for answer in answers] for answers in cells.values()],
        lost,
    )
