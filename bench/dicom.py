"""`nightread bench-dicom`: DICOM objects through the whole program, against a bare loop over the same objects.

The loop is pydicom without Nightread's limits and processes, on all cores: read, decode, the same grey scale, the same
gate and network. End to end is a real `nightread up`, from the first object in the inbox to the last committed
prediction, with the settle time. Rounds of both alternate, so that other work on the machine slows both.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from bench import bare_loop
from bench.memory import MemoryOverTime
from bench.program import images_in, rate_between, running, when_reached
from worker.config import Settings
from worker.dicom.form import form_of
from worker.inference.admission import Admission, score_admitted
from worker.inference.bundle import load_bundle
from worker.inference.classifier import Classifier
from worker.ledger.schema import open_ledger
from worker.ledger.states import ImageState

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

# So many different pictures; their copies differ in their UIDs.
_PICTURES = 10
# Objects that take longer to decode are fewer: this part of the count.
_PARTS = {"native": 1, "jpeg_lossless_sv1": 1, "jpeg_ls": 2, "jpeg_2000": 4}
_NOT_SCORED = (ImageState.REJECTED, ImageState.QUARANTINED)
_FINISHED = (ImageState.SCORED, *_NOT_SCORED)


@dataclass(frozen=True)
class _Round:
    """Objects a second of both, and the memory of the program's processes.

    `steady` is what the program does between the first and the last quarter of the objects; None: they are too few to tell.
    """

    loop: float
    end_to_end: float
    steady: float | None
    memory: dict[str, dict[str, float]]

    @property
    def ratio(self) -> float:
        return self.end_to_end / self.loop

    @property
    def steady_ratio(self) -> float | None:
        return None if self.steady is None else self.steady / self.loop


def measure(settings: Settings, count: int, rounds: int, width: int) -> dict[str, Any]:
    """Measure and return the document of `bench-dicom --json`. Raises ModelUnusable, ClickException."""
    # Imported here: pydicom is in the extra `dicom`.
    from bench.dicom_objects import SYNTAXES, draw_values, write_objects

    pictures = [draw_values(seed, width) for seed in range(_PICTURES)]
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as name:
        workspace = Path(name)
        objects = {
            syntax: write_objects(pictures, uid, max(1, count // _PARTS[syntax]), workspace / syntax)
            for syntax, uid in SYNTAXES.items()
        }
        measured: dict[str, list[_Round]] = {syntax: [] for syntax in objects}
        for number in range(rounds):
            for place, (syntax, files) in enumerate(objects.items()):
                loop_first = (number + place) % 2 == 0
                measured[syntax].append(_round(settings, files, workspace, loop_first=loop_first))
                click.echo(f"round {number + 1}, {syntax}: {_rates(measured[syntax][-1])}", err=True)
        syntaxes = {syntax: _summary(objects[syntax], each) for syntax, each in measured.items()}
    return {
        "count": count,
        "rounds": rounds,
        "columns": pictures[0].shape[1],
        "rows": pictures[0].shape[0],
        "cores": settings.workers,
        "syntaxes": syntaxes,
    }


def as_text(document: dict[str, Any]) -> str:
    """Return the document as text for people."""
    size = f"{document['columns']} x {document['rows']}"
    lines = [
        f"Objects of {size} pixels on {document['cores']} cores, medians of {document['rounds']} rounds",
        f"{'':18} {'objects':>8} {'MB each':>8} {'loop/s':>8} {'end to end/s':>13} {'ratio':>6} {'steady':>7}",
    ]
    for syntax, found in document["syntaxes"].items():
        steady = "" if found["steady_ratio"] is None else f"{found['steady_ratio']:8.2f}"
        lines.append(
            f"{syntax:18} {found['objects']:8} {found['mb_of_an_object']:8.1f} {found['loop_objects_per_s']:8.1f} "
            f"{found['end_to_end_objects_per_s']:13.1f} {found['ratio']:6.2f}{steady}"
        )
    lines.append("Peak memory of the largest process in MB, in the first and in the last quarter")
    for syntax, found in document["syntaxes"].items():
        peaks = ", ".join(
            f"{kind} {peak['first_quarter_mb']:.0f} and {peak['last_quarter_mb']:.0f}"
            for kind, peak in found["memory"].items()
        )
        lines.append(f"{syntax:18} {peaks}")
    return "\n".join(lines)


def _round(settings: Settings, files: Sequence[Path], workspace: Path, *, loop_first: bool) -> _Round:
    """Measure both on the same files, one after the other."""
    loop = bare_loop.rate(settings, files, _loop) if loop_first else None
    end_to_end, steady, memory = _end_to_end(settings, files, workspace)
    return _Round(loop or bare_loop.rate(settings, files, _loop), end_to_end, steady, memory)


def _end_to_end(
    settings: Settings, files: Sequence[Path], workspace: Path
) -> tuple[float, float | None, dict[str, dict[str, float]]]:
    arriving, data = workspace / "arriving", workspace / "data"
    shutil.copytree(files[0].parent, arriving)
    # What is written later would slow the program's own writes.
    os.sync()
    with running(settings.model_copy(update={"dicom_port": 0}), data) as (own_settings, supervisor):
        ledger = open_ledger(own_settings.database)
        with MemoryOverTime(supervisor) as memory:
            start = time.perf_counter()
            for path in sorted(arriving.iterdir()):
                path.rename(own_settings.inbox / path.name)
            first_quarter = when_reached(ledger, len(files) // 4, supervisor, *_FINISHED)
            last_quarter = when_reached(ledger, len(files) - len(files) // 4, supervisor, *_FINISHED)
            _, end = when_reached(ledger, len(files), supervisor, *_FINISHED)
        lost = images_in(ledger, *_NOT_SCORED)
        ledger.close()
    shutil.rmtree(data)
    shutil.rmtree(arriving)
    if lost:
        raise click.ClickException(f"{lost} objects were not scored, so the figures would be wrong.")
    return len(files) / (end - start), rate_between(first_quarter, last_quarter), memory.peaks()


def _loop(settings: Settings) -> Callable[[Sequence[Path]], None]:
    """Load the model and return the function that scores a chunk of objects."""
    from pydicom import dcmread

    from worker.dicom.picture import picture_of

    bundle = load_bundle(settings.model, settings.runtime, settings.model_sha256)
    classifier, admission = Classifier(bundle, settings.runtime), Admission(bundle)

    def score(files: Sequence[Path]) -> None:
        admitted = []
        for path in files:
            dataset = dcmread(path)
            picture = picture_of(dataset, form_of(dataset), _stored_values(dataset))
            admitted.append(admission.admit(picture.grey8))
        score_admitted(classifier, admitted)

    return score


def _stored_values(dataset: Dataset) -> NDArray[np.uint16]:
    from imagecodecs import jpeg8_decode
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGLosslessSV1

    if dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1:
        # pydicom has no decoder for it that is free to use.
        values: NDArray[np.uint16] = jpeg8_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
        return values
    return dataset.pixel_array


def _summary(files: Sequence[Path], rounds: Sequence[_Round]) -> dict[str, Any]:
    return {
        "objects": len(files),
        "mb_of_an_object": round(statistics.mean(path.stat().st_size for path in files) / 1e6, 2),
        "loop_objects_per_s": round(statistics.median(each.loop for each in rounds), 2),
        "end_to_end_objects_per_s": round(statistics.median(each.end_to_end for each in rounds), 2),
        "ratio": round(statistics.median(each.ratio for each in rounds), 3),
        "steady_ratio": _median([each.steady_ratio for each in rounds]),
        "rounds": [
            {
                "loop_objects_per_s": round(each.loop, 2),
                "end_to_end_objects_per_s": round(each.end_to_end, 2),
                "ratio": round(each.ratio, 3),
                "steady_ratio": _median([each.steady_ratio]),
            }
            for each in rounds
        ],
        "memory": _largest([each.memory for each in rounds]),
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _largest(memories: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the highest of all rounds."""
    kinds = sorted({kind for memory in memories for kind in memory})
    return {
        kind: {
            quarter: max(memory[kind][quarter] for memory in memories if kind in memory)
            for quarter in ("first_quarter_mb", "last_quarter_mb")
        }
        for kind in kinds
    }


def _rates(measured: _Round) -> str:
    return (
        f"loop {measured.loop:.1f} objects a second, end to end {measured.end_to_end:.1f}, "
        f"ratio {measured.ratio:.2f}"
    )
