"""Queries of pages and reports: runs, receipts, rejected images, and the figures of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, select
from sqlalchemy.orm import Session, joinedload

from worker.ledger import calibrations, canary, reading_queue, review
from worker.ledger.file_counts import FileCounts, file_counts_by_run
from worker.ledger.reading_queue import QueueFilter
from worker.ledger.states import HAS_READING, ImageState, ReviewState
from worker.ledger.tables import Image, ImageTally, Instance, Prediction, Receipt, Review, Run, Study, User

_SLOWEST = 5
# No page may count the rows of a large table.
_LATEST_REASONS = 1_000
# The columns of an image that a report shows; for a thousand images it is faster to read no others.
_REPORTED = (
    Image.id, Image.verdict, Image.p_pneumonia, Image.review_state, Image.phantom, Image.original_name,
    Image.state, Image.reason_code, Image.reason, Image.population, Image.distance, Image.received_at,
    Image.scored_at, Image.drawn_rank,
)  # fmt: skip
# Of the reading in force, with the name of its reader.
_READINGS = (
    Review.image_id, Review.id, Review.action, Review.finding, Review.reason_code, Review.note, Review.other_finding,
    Review.why, Review.user_id, Review.at, Review.score_shown, Review.map_shown, Review.open_ms, User.name,
)  # fmt: skip
# A list of a report that is longer would not fit into the memory of a small machine. The report says how many are missing.
LISTED = 100_000
_TO_READ, _CLEAR = ("flagged", "uncertain"), ("clear",)
_OTHER_STATES = (ImageState.PENDING, ImageState.LEASED, ImageState.ERASED)


@dataclass(frozen=True)
class RunSummary:
    """A run and its file count; times are UTC, None before the first score."""

    id: int
    name: str
    started_at: datetime
    file_counts: FileCounts
    first_scored_at: datetime | None
    last_scored_at: datetime | None


@dataclass(frozen=True)
class RunFigures:
    """The figures of a run's morning report.

    `flagged` (which includes uncertain images), `clear`, `rejected` (which includes quarantined images) and `others`
    (pending, being scored, erased) are rows with the attributes of an `Image` that a report shows: together, every image
    of the run. `slowest` are the images that took longest to score. `patients` has what is known of the patients, by the
    id of the image: rows with age_years, age_source, sex and view. `readings` has the readings in force, by the id of
    the image: rows with the attributes of a `Review`, and the name of the reader. `patients` and `readings` are of the
    listed images. `recalibrated` has the probability at this site and the version of the calibration, by the id of the image,
    of the images whose model has a calibration in force. `read` and `second_opinions` count the images of the run that were read, and of these the images for
    which a second opinion is wanted.
    """

    run: RunSummary
    flagged: Sequence[Any] = field(default_factory=list)
    rejected: Sequence[Any] = field(default_factory=list)
    slowest: Sequence[Image] = field(default_factory=list)
    clear: Sequence[Any] = field(default_factory=list)
    others: Sequence[Any] = field(default_factory=list)
    readings: Mapping[int, Any] = field(default_factory=dict)
    read: int = 0
    second_opinions: int = 0
    patients: Mapping[int, Any] = field(default_factory=dict)
    recalibrated: Mapping[int, tuple[float, int]] = field(default_factory=dict)


def runs(session: Session, *, before: int | None = None, size: int = 20) -> list[tuple[Run, RunSummary]]:
    """Return runs with their file counts, the latest first; `before` is the id that the previous page ended with."""
    older = [] if before is None else [Run.id < before]
    page = session.scalars(select(Run).where(*older).order_by(Run.id.desc()).limit(size)).all()
    return list(zip(page, _summaries(session, page), strict=True))


def run_names(session: Session, *, size: int = 60) -> dict[str, str]:
    """Return the names of the latest runs by their ids as text, the latest first."""
    latest = session.execute(select(Run.id, Run.name).order_by(Run.id.desc()).limit(size))
    return {str(row.id): row.name for row in latest}


def receipts(session: Session, receipt_ids: Sequence[int]) -> Sequence[Receipt]:
    """Return these receipts with their images, in the order in which they were written."""
    return session.scalars(
        select(Receipt)
        .where(Receipt.id.in_(receipt_ids))
        .options(joinedload(Receipt.image).joinedload(Image.run))
        .order_by(Receipt.id)
    ).all()


def summary(session: Session, run: Run) -> RunSummary:
    """Return one run and its file count."""
    return _summaries(session, [run])[0]


def find_run(session: Session, name: str | None) -> Run | None:
    """Return the run of this name; without a name, the latest run that is not the run of the canaries."""
    if name is None:
        latest = select(Run).where(Run.name != canary.RUN).order_by(Run.id.desc()).limit(1)
        return session.scalars(latest).one_or_none()
    return session.scalars(select(Run).where(Run.name == name)).one_or_none()


def run_figures(session: Session, run: Run, *, limit: int | None = None) -> RunFigures:
    """Return the figures of a run's report. `limit` cuts each list, not the counts; None: at `LISTED`."""
    size = limit or LISTED
    flagged, clear = (_scored(session, run, verdicts, size) for verdicts in (_TO_READ, _CLEAR))
    rejected = session.execute(_with_reason(select(*_REPORTED), run.id, None, size)).all()
    # An image that waits or was erased has no reading state: the condition lets an index find it.
    waiting = Image.run_id == run.id, Image.review_state.is_(None), Image.state.in_(_OTHER_STATES)
    # Sorted here: the index has them in the order of other columns, which are all null.
    others = sorted(session.execute(select(*_REPORTED).where(*waiting).limit(size)), key=lambda row: row.id)
    slowest = session.scalars(
        select(Image)
        .where(Image.run_id == run.id, Image.compute_ms.is_not(None))
        .order_by(Image.compute_ms.desc(), Image.id.desc())
        .limit(_SLOWEST)
    ).all()
    # Of a whole run, a join is faster than many ids, and SQLite has a limit for these.
    listed = [image.id for image in (*flagged, *clear, *rejected, *others)] if limit else None
    tallied = {row[0]: int(row[1]) for row in session.execute(_tallied(run))}
    return RunFigures(
        run=summary(session, run),
        flagged=flagged,
        clear=clear,
        rejected=rejected,
        others=others,
        slowest=slowest,
        patients=_patients(session, run, listed),
        readings=_readings(session, run, listed),
        recalibrated=_recalibrated(session, run, listed),
        read=sum(tallied.values()),
        second_opinions=tallied.get(ReviewState.SECOND_OPINION, 0),
    )


def rejected_images(
    session: Session,
    *,
    run_id: int | None = None,
    reason_code: str | None = None,
    before: int | None = None,
    size: int = 50,
) -> Sequence[Image]:
    """Return rejected and quarantined images, the latest first; `before` is an image id (keyset paging)."""
    images = _with_reason(select(Image), run_id, before, size)
    if reason_code is not None:
        images = images.where(Image.reason_code == reason_code)
    return session.scalars(images.options(joinedload(Image.run))).all()


def latest_reasons(session: Session, *, among: int = _LATEST_REASONS) -> dict[str, int]:
    """Return how many of the latest rejected and quarantined images have each reason code, the most frequent first."""
    latest = _with_reason(select(Image.reason_code), None, None, among).subquery()
    total = func.count()
    counted = select(latest.c.reason_code, total.label("number")).group_by(latest.c.reason_code)
    rows = session.execute(counted.order_by(total.desc(), latest.c.reason_code))
    return {row.reason_code: row.number for row in rows}


def _scored(session: Session, run: Run, verdicts: Sequence[str], limit: int) -> Sequence[Any]:
    """Return the scored images of a run with these verdicts, the highest score first."""
    wanted = QueueFilter(verdicts, review=None, run=str(run.id), blind=False)
    urgent = reading_queue.most_urgent(session, wanted, limit=limit)
    rows = select(*_REPORTED).join(urgent, Image.id == urgent.c.id)
    return session.execute(rows.order_by(Image.p_pneumonia.desc(), Image.id)).all()


def _patients(session: Session, run: Run, image_ids: Sequence[int] | None) -> dict[int, Any]:
    known = select(Instance.image_id, Study.age_years, Study.age_source, Study.sex, Instance.view)
    known = known.outerjoin(Instance.study).join(Image, Image.id == Instance.image_id)
    rows = session.execute(known.where(*_of_run(run, image_ids)))
    return {row.image_id: row for row in rows}


def _recalibrated(
    session: Session, run: Run, image_ids: Sequence[int] | None
) -> dict[int, tuple[float, int]]:
    layers = calibrations.every(session)
    if not layers:
        return {}
    scores = (
        select(Image.id, Prediction.model_id, Prediction.p_pneumonia)
        .join(Prediction, (Prediction.image_id == Image.id) & (Prediction.finished_at == Image.scored_at))
        .where(Prediction.model_id.in_(layers), *_of_run(run, image_ids))
    )
    return {
        row.id: (layer.recalibration.probability(row.p_pneumonia), layer.version)
        for row in session.execute(scores)
        if (layer := layers.get(row.model_id)) is not None
    }


def _readings(session: Session, run: Run, image_ids: Sequence[int] | None) -> dict[int, Any]:
    read = Image.review_state.in_(HAS_READING), *_of_run(run, image_ids)
    in_force = review.last_readings().join(Image, Image.id == Review.image_id).where(*read)
    readings = select(*_READINGS).join(User, User.id == Review.user_id).where(Review.id.in_(in_force))
    return {row.image_id: row for row in session.execute(readings)}


def _of_run(run: Run, image_ids: Sequence[int] | None) -> list[ColumnElement[bool]]:
    """Return the condition of these images; without ids, of all images of the run."""
    return [Image.run_id == run.id if image_ids is None else Image.id.in_(image_ids)]


def _tallied(run: Run) -> Select[str, int]:
    """Select the number of images of a run in each reading state that has a reading."""
    read = ImageTally.run_id == run.id, ImageTally.review_state.in_(HAS_READING)
    totals = select(ImageTally.review_state, func.sum(ImageTally.total)).where(*read)
    return totals.group_by(ImageTally.review_state)


def _summaries(session: Session, runs: Sequence[Run]) -> list[RunSummary]:
    """Return the runs and their file counts with three queries: two of tallies, one of the times of scores."""
    ids = [run.id for run in runs]
    counts = file_counts_by_run(session, ids)
    ends = select(Run.id, _scored_at(func.min), _scored_at(func.max)).where(Run.id.in_(ids))
    spans = {run_id: span for run_id, *span in session.execute(ends)}
    return [RunSummary(run.id, run.name, run.started_at, counts[run.id], *spans[run.id]) for run in runs]


def _scored_at(end: Callable[[Any], Any]) -> ScalarSelect[datetime]:
    """Select the time of the first or the last score of the row's run. Both are read from one end of an index."""
    return select(end(Image.scored_at)).where(Image.run_id == Run.id).correlate(Run).scalar_subquery()


def _with_reason(statement: Any, run_id: int | None, before: int | None, size: int) -> Any:
    conditions: list[ColumnElement[bool]] = []
    if run_id is not None:
        conditions.append(Image.run_id == run_id)
    if before is not None:
        conditions.append(Image.id < before)
    # An image has a reason exactly while it is rejected or quarantined; see the index.
    return statement.where(Image.reason_code.is_not(None), *conditions).order_by(Image.id.desc()).limit(size)
