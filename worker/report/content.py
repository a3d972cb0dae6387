"""The content of the morning report of a run, the same in every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

from sqlalchemy import Row
from sqlalchemy.orm import Session

from worker.card.band import is_far
from worker.card.population import Population
from worker.ledger import models, monitoring, populations, rescores
from worker.ledger.file_counts import FileCounts
from worker.ledger.findings import Action
from worker.ledger.process_health import process_health, troubles
from worker.ledger.reports import RunFigures, find_run, run_figures
from worker.ledger.runs import public_name
from worker.ledger.session import ledger_time
from worker.ledger.studies import PATIENT_COLUMNS
from worker.ledger.tables import Run

FLAGGED_COLUMNS = (
    "image", "verdict", "p_pneumonia", "review", "phantom", "population", "distance", *PATIENT_COLUMNS, "file"
)  # fmt: skip
# What the calibration in force says; beside the score, if there is one.
SITE_COLUMNS = ("site_probability", "site_calibration")
REJECTED_COLUMNS = ("image", "state", "code", "reason", "file")
# The reading in force: docs/report.md says what each column means.
READING_COLUMNS = (
    "finding", "finding_reason", "other_finding", "note", "reader", "reader_id", "read_at", "reading", "amended",
    "amended_why", "score_shown", "map_shown", "open_ms",
)  # fmt: skip
# What people read in a table beside the image.
READINGS_TABLE = (
    "image", "finding", "finding_reason", "reader", "read_at", "score_shown", "map_shown", "open_ms", "amended",
    "other_finding", "note", "amended_why",
)  # fmt: skip
SLOWEST_COLUMNS = ("image", "compute_ms")
# Formats that people read list no more of each kind. CSV and JSON list all.
SHOWN = 1_000


@dataclass(frozen=True)
class Report:
    """A run's figures, and one sentence for each thing that a person should do or look into.

    `cut` has a sentence for each list that should be whole and is not, because it is longer than `LISTED`.
    """

    figures: RunFigures
    look_at: Sequence[str]
    cut: Sequence[str] = ()


def read_report(session: Session, run_name: str | None, *, whole: bool = True) -> Report:
    """Read the report of a run from the ledger; without a name, of the latest run. `whole` as in `report_of`.

    Raises LookupError if there is no such run.
    """
    run = find_run(session, run_name)
    if run is None:
        raise LookupError(f"There is no run named {run_name!r}." if run_name else "There is no run yet.")
    return report_of(session, run, whole=whole)


class Blinding(Protocol):
    """What a report must not tell the person who asks for it. An image is a row with the columns of a report."""

    def hides_score(self, image: Any, /) -> bool:
        """Return whether score and verdict are hidden."""

    def shows(self, image: Any, reading: Any, /) -> bool:
        """Return whether a reading may be shown."""


def report_of(
    session: Session, run: Run, *, names: bool = True, whole: bool = True, hidden: Blinding | None = None
) -> Report:
    """Read the report of a run from the ledger. Unless it is `whole`, each list ends after `SHOWN` images.

    An image whose score is `hidden` stands among the other ones, without it.

    Without `names`, numbers stand where people or files gave a name, nothing is said of the patients, and what readers
    wrote in their own words is left out.
    """
    figures = run_figures(session, run, limit=None if whole else SHOWN)
    cut = _cut_sentences(figures) if whole else []
    if hidden is not None:
        figures = _blinded(figures, hidden)
    statuses = process_health(session, ledger_time(session))
    # No heartbeat at all means that Nightread was stopped on purpose: that is not a problem.
    problems = (
        troubles(
            statuses,
            balanced=True,
            rescored=rescores.unseen_count(session),
            populations=populations.unexpected(session),
            thresholds=models.unused_point(session),
            monitor=[f"Monitor: {change['sentence']}" for change in monitoring.attention(session)],
        )
        if statuses
        else []
    )
    return Report(figures if names else _without_names(figures), [*open_work(figures), *problems], cut)


def _blinded(figures: RunFigures, hidden: Blinding) -> RunFigures:
    images = {image.id: image for image in (*figures.flagged, *figures.clear, *figures.rejected)}
    without = [_without_score(image) for image in images.values() if hidden.hides_score(image)]
    return replace(
        figures,
        flagged=[image for image in figures.flagged if not hidden.hides_score(image)],
        clear=[image for image in figures.clear if not hidden.hides_score(image)],
        # In the order of arrival, which tells nothing.
        others=[*sorted(without, key=lambda image: int(image.id)), *figures.others],
        readings={
            image_id: reading
            for image_id, reading in figures.readings.items()
            if image_id not in images or hidden.shows(images[image_id], reading)
        },
    )


def _without_score(image: Row[Any]) -> Any:
    values = image._mapping  # noqa: SLF001 - the public name of SQLAlchemy
    return SimpleNamespace(**{**values, "verdict": None, "p_pneumonia": None, "distance": None})


def _without_names(figures: RunFigures) -> RunFigures:
    run = replace(figures.run, name=public_name(figures.run.id, figures.run.name))
    return replace(
        figures,
        run=run,
        patients={},
        readings={image_id: _without_words(reading) for image_id, reading in figures.readings.items()},
        flagged=[_without_name(image) for image in figures.flagged],
        clear=[_without_name(image) for image in figures.clear],
        rejected=[_without_name(image) for image in figures.rejected],
        others=[_without_name(image) for image in figures.others],
    )


def _without_name(image: Row[Any]) -> Any:
    values = vars(image) if isinstance(image, SimpleNamespace) else image._mapping  # noqa: SLF001 - the public name
    return SimpleNamespace(**{**values, "original_name": f"image {image.id}"})


def _without_words(reading: Row[Any]) -> Any:
    values = reading._mapping  # noqa: SLF001 - the public name of SQLAlchemy
    nameless = {"name": f"reader {reading.user_id}", "note": "", "other_finding": "", "why": ""}
    return SimpleNamespace(**{**values, **nameless})


def open_work(figures: RunFigures) -> list[str]:
    """Return one sentence for each kind of image in the run that still needs a person or a worker."""
    counts = figures.run.file_counts
    sentences = {
        "Flagged or uncertain images to read: {}.": counts.unread,
        "Images for which a second opinion is wanted: {}.": figures.second_opinions,
        "Quarantined images: {}. Scoring failed on every attempt. Check the reason, then retry the images.": (
            counts.quarantined
        ),
        "Images that are pending or being scored: {}.": counts.pending + counts.leased,
    }
    return [sentence.format(count) for sentence, count in sentences.items() if count]


def readings_sentence(figures: RunFigures) -> str:
    """Return the sentence with the number of images that were read."""
    return f"Images that were read: {figures.read}."


def cut_sentence(listed: int, total: int, kind: str) -> str:
    """Return the sentence that says that a list is not complete; empty if it is."""
    return f"Only the first {listed:,} of {total:,} {kind} images are listed." if listed < total else ""


def _cut_sentences(figures: RunFigures) -> list[str]:
    """Return a sentence for each list of a report that ends early, with the number of images that are missing."""
    counts = figures.run.file_counts
    lists = {
        "flagged or uncertain": (figures.flagged, counts.flagged),
        "clear": (figures.clear, counts.scored - counts.flagged),
        "rejected or quarantined": (figures.rejected, counts.rejected + counts.quarantined),
        "waiting or erased": (figures.others, counts.pending + counts.leased + counts.erased),
    }
    return [
        f"{cut_sentence(len(images), total, kind)} Missing: {total - len(images):,}."
        for kind, (images, total) in lists.items()
        if len(images) < total
    ]


def file_count_sentence(figures: RunFigures) -> str:
    """Return the sentence that says whether all files of the run are accounted for."""
    if figures.run.file_counts.balanced:
        return "All files are accounted for."
    return "FILES ARE UNACCOUNTED FOR: run `nightread db check` before anything else."


def population_sentence(figures: RunFigures) -> str:
    """Return the sentence with the numbers of patients outside the population and of unknown age; empty if there are none."""
    counts = figures.run.file_counts
    parts = {
        "outside the model's population": counts.outside_population,
        "of unknown age": counts.unknown_age,
    }
    told = ", ".join(f"{count} {kind}" for kind, count in parts.items() if count)
    return f"Patients of the {counts.scored} scored images: {told}." if told else ""


def distance_sentence(counts: FileCounts) -> str:
    """Return the sentence that says how many scored images are far from the training data; empty if no model says it."""
    known, far = counts.distance_known, counts.far_from_training_data
    if not known:
        return ""
    sentence = f"Far from the training data: {far:,} of {known:,} scored images ({100 * far / known:.1f} %)."
    if not populations.are_many(counts):
        return sentence
    return f"{sentence} The model has learnt from few images like these, so its figures may not hold for this run."


def rejected_sentence(figures: RunFigures) -> str:
    """Return the sentence with the numbers of rejected and quarantined images, and their reasons."""
    counts, reasons = figures.run.file_counts, reason_counts(figures)
    sentence = f"Not scored: {counts.rejected} rejected, {counts.quarantined} quarantined"
    if not reasons:
        return f"{sentence}."
    return f"{sentence} ({', '.join(f'{count} {code}' for code, count in reasons.items())})."


def reason_counts(figures: RunFigures) -> dict[str, int]:
    """Return how many of the listed images have each reason code, the most frequent first."""
    return dict(Counter(image.reason_code or "" for image in figures.rejected).most_common())


def patient_row(figures: RunFigures, image: Row[Any]) -> dict[str, Any]:
    """Return what is known of the patient of an image, with the keys of `PATIENT_COLUMNS`; None: not known."""
    known = figures.patients.get(image.id)
    return {name: getattr(known, name, None) for name in PATIENT_COLUMNS}


def flagged_row(figures: RunFigures, image: Row[Any]) -> dict[str, object]:
    """Return an image of the run as a row with the keys of `FLAGGED_COLUMNS`; what is not known is empty."""
    patient = patient_row(figures, image)
    age = patient["age_years"]
    return {
        **{name: value or "" for name, value in patient.items()},
        "age_years": "" if age is None else f"{age:g}",
        "image": image.id,
        "verdict": image.verdict or "",
        "p_pneumonia": "" if image.p_pneumonia is None else round(image.p_pneumonia, 6),
        "review": image.review_state or "",
        "phantom": "phantom" if image.phantom else "",
        # An unknown age is counted once for the run: at a site that sends no ages, it would stand in every row.
        "population": "outside" if image.population == Population.OUTSIDE else "",
        "distance": "far" if is_far(image.distance) else "",
        "file": image.original_name,
        **{name: "" if value is None else value for name, value in site_row(figures, image).items()},
    }


def scored_columns(figures: RunFigures) -> tuple[str, ...]:
    """Return the columns of scored images for people: those of the site only if a calibration is in force."""
    if not figures.recalibrated:
        return FLAGGED_COLUMNS
    place = FLAGGED_COLUMNS.index("p_pneumonia") + 1
    return (*FLAGGED_COLUMNS[:place], *SITE_COLUMNS, *FLAGGED_COLUMNS[place:])


def site_row(figures: RunFigures, image: Row[Any]) -> dict[str, object]:
    """Return the probability at this site, and the version of the calibration; None without one or without a score."""
    known = None if image.p_pneumonia is None else figures.recalibrated.get(image.id)
    return dict(
        zip(SITE_COLUMNS, (None, None) if known is None else (round(known[0], 6), known[1]), strict=True)
    )


def reading_row(figures: RunFigures, image_id: int) -> dict[str, Any]:
    """Return the reading in force of an image, with the keys of `READING_COLUMNS`; None: not known, or not read."""
    reading = figures.readings.get(image_id)
    if reading is None:
        return dict.fromkeys(READING_COLUMNS)
    return {
        "finding": reading.finding,
        "finding_reason": reading.reason_code,
        "other_finding": reading.other_finding,
        "note": reading.note,
        "reader": reading.name,
        "reader_id": reading.user_id,
        "read_at": reading.at.isoformat(timespec="milliseconds"),
        "reading": reading.id,
        "amended": reading.action == Action.AMEND,
        "amended_why": reading.why,
        "score_shown": reading.score_shown,
        "map_shown": reading.map_shown,
        "open_ms": reading.open_ms,
    }


def reading_cells(figures: RunFigures, image_id: int) -> dict[str, object]:
    """Return `reading_row` for a table: yes, no, or empty for what is not known."""
    words = {True: "yes", False: "no", None: ""}
    return {
        name: words[value] if value is None or isinstance(value, bool) else value
        for name, value in reading_row(figures, image_id).items()
    }


def readings_table(figures: RunFigures) -> list[dict[str, object]]:
    """Return the first readings in force as rows with the keys of `READINGS_TABLE`, in the order of the lists."""
    listed = (*figures.flagged, *figures.clear, *figures.rejected)
    read = [image.id for image in listed if image.id in figures.readings]
    return [{"image": image_id, **reading_cells(figures, image_id)} for image_id in read[:SHOWN]]


def rejected_row(image: Row[Any]) -> dict[str, object]:
    """Return an image as a row with the keys of `REJECTED_COLUMNS`."""
    return {
        "image": image.id,
        "state": image.state,
        "code": image.reason_code or "",
        "reason": image.reason or "",
        "file": image.original_name,
    }


def slowest_rows(figures: RunFigures) -> list[dict[str, object]]:
    """Return the slowest images as rows with the keys of `SLOWEST_COLUMNS`; times in milliseconds."""
    return [{"image": row.id, "compute_ms": round(row.compute_ms or 0, 1)} for row in figures.slowest]
