"""Compares what the checks of several bundles reject: of real chests, and of pictures that must not be scored.

A picture passes the worker's own checks: blank, film finder, margin check and gate.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from training.data.radiographs import Radiograph
from training.gate.anatomy import LATERALS, OTHER_PARTS
from training.gate.measures import interval
from training.gate.negatives import NEVER_TRAINED_ON, SPOILED, THINGS
from worker.errors import RejectedImage
from worker.inference.admission import Admission
from worker.inference.bundle import Bundle

Json = dict[str, Any]

SEED = 20261127
DRAWINGS = 40
# A shrunk chest on a page is not among these: the film finder may rightly cut it out.
CHANGES = ("inverted", "turned right", "turned left", "upside down", "a piece", "shuffled")
OTHERS = "files that must be rejected"
# The changes expect a square.
_SIDE = 256
_QUALITY = 95
_REJECTED, _SHARE = "rejected", "share"
_LONGEST_LIST = 20
_SUFFIXES = {".jpeg", ".jpg", ".png"}


class _Checks:
    """The checks of one bundle before it scores a file."""

    def __init__(self, bundle: Bundle) -> None:
        self.name = f"{bundle.name} {bundle.version}"
        self._admission = Admission(bundle)

    def rejection(self, data: bytes) -> str | None:
        """Return the code of the rejection; None: the picture would be scored."""
        try:
            self._admission.admit(data)
        except RejectedImage as rejection:
            return rejection.code
        return None


def compare(
    bundles: Sequence[Bundle],
    radiographs: Sequence[Radiograph],
    others: Sequence[Path] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Json:
    """Return the document of `nightread gate --json`.

    Args:
        bundles: the models, at least one; each answers to the same pictures.
        radiographs: frontal chests, which should pass, at least one.
        others: files that must be rejected.
        advance: called with 1 after each chest.

    Raises:
        ModelUnusable: the runtime cannot load a gate.
    """
    checks = [_Checks(bundle) for bundle in bundles]
    chests: list[list[str | None]] = []
    spoiled: dict[str, list[list[str | None]]] = {kind: [] for kind in CHANGES}
    for number, radiograph in enumerate(radiographs):
        chests.append(_answers(checks, radiograph.path.read_bytes()))
        for kind, data in _spoiled(radiograph.path, number):
            spoiled[kind].append(_answers(checks, data))
        advance(1)
    drawn = {kind: [_answers(checks, data) for data in pictures] for kind, pictures in _drawn()}
    given = {OTHERS: [_answers(checks, path.read_bytes()) for path in others]} if others else {}
    patients = len({radiograph.patient for radiograph in radiographs})
    return {
        "bundles": [
            {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256} for bundle in bundles
        ],
        "chests": {
            "n": len(radiographs),
            "patients": patients,
            "by_bundle": [
                _of_chests(radiographs, [answer[place] for answer in chests], patients)
                for place in range(len(checks))
            ],
        },
        "must_be_rejected": [
            {"kind": kind.replace("_", " "), "n": len(answers), _SHARE: _shares(answers)}
            for kind, answers in {**spoiled, **drawn, **given}.items()
        ],
        "passed_files": [
            {"file": path.name, "bundle": check.name}
            for path, answers in zip(others, given.get(OTHERS, []), strict=True)
            for check, code in zip(checks, answers, strict=True)
            if code is None
        ],
        "seed": SEED,
    }


def pictures_in(folder: Path | None) -> list[Path]:
    """Return the JPEG and PNG files of a folder, in order; None: no files."""
    if folder is None:
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def as_text(document: Json) -> str:
    """Return the document of `nightread gate --json` as text."""
    names = [f"{bundle['name']} {bundle['version']}" for bundle in document["bundles"]]
    chests = document["chests"]
    lines = [f"{chests['n']:,} frontal chests of {chests['patients']:,} patients, which should pass:"]
    for name, counted in zip(names, chests["by_bundle"], strict=True):
        low, high = counted["share_ci"]
        lines.append(
            f"{name}: {len(counted[_REJECTED])} rejected, {_percent(counted[_SHARE])} "
            f"[{_percent(low)}, {_percent(high)}]"
        )
        lines += [f"  {image['file']}: {image['reason']}" for image in counted[_REJECTED]]
    width = max(len(row["kind"]) for row in document["must_be_rejected"])
    lines += [
        "",
        f"{'rejected of what must be':{width}}  {'n':>6}" + "".join(f"  {name:>16}" for name in names),
    ]
    for row in document["must_be_rejected"]:
        shares = "".join(f"  {_percent(share):>16}" for share in row[_SHARE])
        lines.append(f"{row['kind']:{width}}  {row['n']:>6,}{shares}")
    passed = document["passed_files"]
    lines += [f"{image['file']} passes {image['bundle']}." for image in passed[:_LONGEST_LIST]]
    return "\n".join(lines)


def _answers(checks: Sequence[_Checks], data: bytes) -> list[str | None]:
    return [check.rejection(data) for check in checks]


def _of_chests(radiographs: Sequence[Radiograph], codes: Sequence[str | None], patients: int) -> Json:
    rejected = [
        {"file": radiograph.path.name, "reason": code}
        for radiograph, code in zip(radiographs, codes, strict=True)
        if code is not None
    ]
    share = len(rejected) / len(radiographs)
    return {_REJECTED: rejected, _SHARE: share, "share_ci": interval(share, patients)}


def _shares(answers: Sequence[Sequence[str | None]]) -> list[float]:
    """Return the rejected share of each bundle."""
    return [
        float(share) for share in np.mean([[code is not None for code in one] for one in answers], axis=0)
    ]


def _spoiled(path: Path, number: int) -> Iterator[tuple[str, bytes]]:
    with Image.open(path) as image:
        chest = ImageOps.exif_transpose(image).convert("L").resize((_SIDE, _SIDE))
    for place, kind in enumerate(CHANGES):
        _, change = SPOILED[kind]
        yield kind, _file(change(chest, np.random.default_rng((SEED, number, place))))


def _drawn() -> Iterator[tuple[str, list[bytes]]]:
    """Yield files with drawings of each kind, those that no gate was trained on last."""
    kinds = {**LATERALS, **OTHER_PARTS, **THINGS, **NEVER_TRAINED_ON}
    for place, (kind, draw) in enumerate(kinds.items()):
        yield (
            kind,
            [
                _file(Image.fromarray(draw(np.random.default_rng((SEED, len(CHANGES) + place, number)))))
                for number in range(DRAWINGS)
            ],
        )


def _file(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
