"""`nightread screen`: score files now, without queue, database or image store."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from worker import DISCLAIMER
from worker.card.band import is_far
from worker.card.population import Population
from worker.config import Settings
from worker.errors import RejectedImage, TransientFailure
from worker.imagefile.identity import Identity
from worker.imagefile.limits import Limits, limits_of
from worker.intake.accept import readable_name
from worker.intake.sidecar import sidecar_in
from worker.recognition import recognise
from worker.screening import Scorer, open_scorer, population_check
from worker.terminal import printable

Document = dict[str, object]
_NUMBERS = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "confidence")


def screen_files(settings: Settings, files: Sequence[Path]) -> list[Document]:
    """Return one document for each file, in order, with the keys of `screen --json`. Raises ModelUnusable."""
    scorer = open_scorer(settings)
    sidecars = {folder: sidecar_in(folder) for folder in {file.parent for file in files}}
    return [_screen_one(settings, scorer, file, sidecars[file.parent].of(file.name)) for file in files]


def as_text(documents: Sequence[Document]) -> str:
    """Return the documents as text for people: one line for each file."""
    lines = []
    for document in documents:
        if document["outcome"] == "scored":
            result = f"{document['verdict']:<10} p_pneumonia {document['p_pneumonia']:.4f}{_note(document)}"
        else:
            result = f"{document['outcome']}: {document['reason']}"
        lines.append(f"{result}  {printable(document['file'])}")
    lines.append(DISCLAIMER)
    if not all(document["model_verified"] for document in documents):
        lines.append("The model is not verified: it is none that Nightread ships.")
    return "\n".join(lines)


def _note(document: Document) -> str:
    notes = {
        "outside the model's population": document["population"] == Population.OUTSIDE,
        "far from the training data": is_far(cast("float | None", document["distance"])),
        "the film ends at the edge of the lungs": bool(document["lungs_cut_off"]),
    }
    told = ", ".join(note for note, applies in notes.items() if applies)
    return told and f" {told}"


def _screen_one(settings: Settings, scorer: Scorer, file: Path, stated: Identity | None) -> Document:
    no_result: Document = dict.fromkeys((*_NUMBERS, "verdict"))
    document: Document = {
        "file": readable_name(str(file)),
        "outcome": "rejected",
        "reason": None,
        **no_result,
        "crop": None,
        "lungs": None,
        "lungs_cut_off": None,
        "population": None,
        "distance": None,
    }
    document |= {"model": scorer.bundle.sha256, "model_verified": scorer.bundle.verified}
    limits = limits_of(settings)
    try:
        data = _read(file, limits)
        # What a DICOM header says counts, and not what a sidecar says.
        identity = recognise(io.BytesIO(data), len(data), limits).identity or stated
        population = population_check(settings, scorer.bundle).check(identity.age_years if identity else None)
        prepared = replace(scorer.prepare(data, limits), population=population)
    except RejectedImage as rejected:
        return document | {"reason": rejected.sentence}
    except TransientFailure as failure:
        return document | {"outcome": "unreadable", "reason": f"The file cannot be decoded now: {failure}."}
    except OSError as error:
        return document | {"outcome": "unreadable", "reason": f"The file cannot be read: {error.strerror}."}
    result = scorer.score([prepared])[0]
    numbers = {name: round(getattr(result, name), 6) for name in _NUMBERS}
    parts = {"crop": prepared.admitted.crop, "lungs": prepared.admitted.lungs}
    return (
        document
        | {"outcome": "scored", **numbers, "verdict": result.verdict}
        | {name: vars(part) if part else None for name, part in parts.items()}
        | {"lungs_cut_off": prepared.admitted.cuts_lungs_off}
        | {"population": prepared.population, "distance": result.distance}
    )


def _read(file: Path, limits: Limits) -> bytes:
    """Read a file, but not one that is too large. Raises RejectedImage or OSError."""
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        if size > limits.max_bytes:
            raise RejectedImage("too_many_bytes", bytes=size, limit=limits.max_bytes)
        # A pipe or a device has no size.
        return source.read(limits.max_bytes + 1)
