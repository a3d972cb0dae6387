"""`nightread erase`: say what would go, ask, and erase images and everything that names their patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker.erasing import Eraser
from worker.ledger import actors, erasures, studies
from worker.ledger.erasures import Doomed, RunName
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState


@dataclass(frozen=True)
class Plan:
    """What an erasure would remove; `all_run_names`: also the names of runs that hold other images."""

    images: Sequence[Doomed]
    runs: Sequence[RunName]
    all_run_names: bool

    @property
    def image_ids(self) -> list[int]:
        """The images, erased or not."""
        return [image.image_id for image in self.images]

    @property
    def to_erase(self) -> list[int]:
        """The images that are not erased yet."""
        return [image.image_id for image in self.images if image.state != ImageState.ERASED]

    @property
    def nameless_runs(self) -> list[int]:
        """The runs that would lose their name."""
        return [run.run_id for run in self.runs if self.all_run_names or not run.other_images]

    @property
    def named_runs(self) -> list[int]:
        """The runs that would keep a name that a person typed."""
        return [run.run_id for run in self.runs if run.run_id not in self.nameless_runs]


def plan(ledger: Ledger, image_ids: Sequence[int], *, patient: bool, all_run_names: bool) -> Plan:
    """Return what would go; with `patient`, also of all other images of the same patients. Raises LookupError."""
    with ledger.reading() as session:
        if patient:
            image_ids = studies.with_same_patient(session, image_ids)
        images = erasures.plan(session, image_ids)
        return Plan(images, erasures.run_names(session, image_ids), all_run_names)


def erase(eraser: Eraser, chosen: Plan, why: str) -> list[int]:
    """Erase what the plan says, and return the images that were not erased before. Errors as of `Eraser.erase`."""
    who = actors.operating_system_user()
    return eraser.erase(chosen.image_ids, who=who, why=why, all_run_names=chosen.all_run_names)


def document(chosen: Plan, erased: Sequence[int], *, dry_run: bool) -> dict[str, Any]:
    """Return the document that `--json` prints."""
    return {
        "dry_run": dry_run,
        "erased": list(erased),
        "images": [asdict(image) for image in chosen.images],
        "runs_without_name": chosen.nameless_runs,
        "runs_with_name": chosen.named_runs,
    }


def as_text(chosen: Plan) -> str:
    """Return what would go, for people."""
    lines = [_line(image) for image in chosen.images]
    lines += [f"run {run_id}: its name" for run_id in chosen.nameless_runs]
    lines += [
        f"run {run_id} keeps its name, because other images arrived in it; --run-names erases it, too"
        for run_id in chosen.named_runs
    ]
    return "\n".join(lines)


def _line(image: Doomed) -> str:
    if image.state == ImageState.ERASED:
        return f"image {image.image_id}: erased before"
    return (
        f"image {image.image_id}, {image.state}: {image.bytes / 1e3:,.0f} kB and the pictures made of them, "
        f"file names in receipts: {image.names}, notes: {image.notes}, activation maps: {image.maps}, "
        f"identity: {', '.join(image.identity) or 'none'}"
    )
