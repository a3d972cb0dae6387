"""What people are shown of the ledger: the file count, runs, rejected images, the report's figures, the status."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from worker.ledger import canary, review
from worker.ledger.process_health import oldest_pending, process_health, troubles
from worker.ledger.review import NEEDS_READING, QueueFilter
from worker.ledger.states import ImageState, Outcome, ReviewState
from worker.ledger.tables import Image, ImageTally, Prediction, Receipt, ReceiptTally, Run

_RATE_WINDOW_S = 60.0
_SLOWEST = 5
# The columns that the tallies count by, besides the run.
_OUTCOMES = (ReceiptTally.outcome,)
_KINDS = (ImageTally.state, ImageTally.verdict, ImageTally.review_state)
# The columns of an image that a report shows; for a thousand images it is faster to read no others.
_REPORTED = (
    Image.id, Image.verdict, Image.p_pneumonia, Image.review_state, Image.phantom, Image.original_name,
    Image.state, Image.reason_code, Image.reason,
)  # fmt: skip


@dataclass(frozen=True)
class FileCounts:
    """The file count, of everything or of one run.

    Attributes:
        received: receipts.
        duplicates: receipts with the outcome `duplicate`.
        images: distinct images, each in exactly one state.
        scored, rejected, quarantined, pending, leased: images by state.
        flagged: scored images with the verdict `flagged` or `uncertain`.
        uncertain: scored images with the verdict `uncertain`.
        unread: images of `flagged` that no reader has read yet.
        balanced: whether all files are accounted for.
    """

    received: int
    duplicates: int
    images: int
    scored: int
    rejected: int
    quarantined: int
    pending: int
    leased: int
    flagged: int
    uncertain: int
    unread: int
    balanced: bool

    @property
    def equation(self) -> str:
        """The equation that must hold, in numbers."""
        return equation(asdict(self))


@dataclass(frozen=True)
class RunSummary:
    """A run and its file count; times are UTC, None before the first score."""

    name: str
    started_at: datetime
    file_counts: FileCounts
    first_scored_at: datetime | None
    last_scored_at: datetime | None


@dataclass(frozen=True)
class RunFigures:
    """The figures of a run's morning report.

    `flagged` and `rejected` (which includes quarantined images) are rows with the attributes of an `Image`
    that a report shows; `slowest` are the images that took longest to score.
    """

    run: RunSummary
    flagged: Sequence[Any] = field(default_factory=list)
    rejected: Sequence[Any] = field(default_factory=list)
    slowest: Sequence[Image] = field(default_factory=list)


def file_counts(session: Session, run_id: int | None = None) -> FileCounts:
    """Return the file count of everything, or of one run: its receipts and the images that they brought."""
    run_ids = None if run_id is None else [run_id]
    return _add_up(_tallied(session, _OUTCOMES, run_ids), _tallied(session, _KINDS, run_ids))


def equation(counts: Mapping[str, Any]) -> str:
    """Return the equation of the file count, from counts with the names of `FileCounts`."""
    return (
        "{received} received = {duplicates} duplicates + {scored} scored + {rejected} rejected"
        " + {quarantined} quarantined + {pending} pending + {leased} being scored"
    ).format_map(counts)


def rate(session: Session, at: datetime) -> float:
    """Return the images scored a second in the last minute, or since the first of these if that is shorter."""
    since = at - timedelta(seconds=_RATE_WINDOW_S)
    recent = Prediction.finished_at >= since
    count = session.scalar(select(func.count()).select_from(Prediction).where(recent))
    first = session.scalar(
        select(Prediction.started_at).where(recent).order_by(Prediction.finished_at).limit(1)
    )
    if not count or first is None:
        return 0.0
    return count / min(_RATE_WINDOW_S, max(1.0, (at - first).total_seconds()))


def runs(session: Session, *, before: int | None = None, size: int = 20) -> list[tuple[Run, RunSummary]]:
    """Return runs with their file counts, the latest first; `before` is the id that the previous page ended with."""
    older = [] if before is None else [Run.id < before]
    found = session.scalars(select(Run).where(*older).order_by(Run.id.desc()).limit(size)).all()
    return list(zip(found, _summaries(session, found), strict=True))


def run_names(session: Session, *, size: int = 60) -> Sequence[str]:
    """Return the names of the latest runs, the latest first."""
    return session.scalars(select(Run.name).order_by(Run.id.desc()).limit(size)).all()


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
    """Return the run of this name; without a name, the latest run except that of the canaries."""
    if name is None:
        latest = select(Run).where(Run.name != canary.RUN).order_by(Run.id.desc()).limit(1)
        return session.scalars(latest).one_or_none()
    return session.scalars(select(Run).where(Run.name == name)).one_or_none()


def run_figures(session: Session, run: Run, *, limit: int = 1_000) -> RunFigures:
    """Return the figures of a run's report. `limit` cuts the lists, not the file count."""
    urgent = review.most_urgent(session, QueueFilter(review=None, run=run.name), limit=limit)
    flagged = session.execute(
        select(*_REPORTED)
        .join(urgent, Image.id == urgent.c.id)
        .order_by(urgent.c.p_pneumonia.desc(), urgent.c.id)
    ).all()
    rejected = session.execute(_with_reason(select(*_REPORTED), run.id, None, limit)).all()
    slowest = session.scalars(
        select(Image)
        .where(Image.run_id == run.id, Image.compute_ms.is_not(None))
        .order_by(Image.compute_ms.desc(), Image.id.desc())
        .limit(_SLOWEST)
    ).all()
    return RunFigures(summary(session, run), flagged, rejected, slowest)


def rejected_images(
    session: Session, *, run_id: int | None = None, before: int | None = None, size: int = 50
) -> Sequence[Image]:
    """Return rejected and quarantined images, the latest first; `before` is an image id (keyset paging)."""
    images = _with_reason(select(Image), run_id, before, size)
    return session.scalars(images.options(joinedload(Image.run))).all()


def status_document(session: Session, at: datetime) -> dict[str, Any]:
    """Return the document of `nightread status --json` and of the API: file count, rate, processes, canary.

    `eta_s` is 0 when no image is pending or being scored, and null when the rate is 0. `oldest_waiting_s`
    is the time since the oldest pending image arrived, null when none is pending. `troubles` has a sentence
    for each problem that a person should look into.
    """
    counts, images_per_s, statuses = file_counts(session), rate(session, at), process_health(session, at)
    latest_canary = canary.latest_canary(session, at)
    unfinished = counts.pending + counts.leased
    return {
        **asdict(counts),
        "images_per_s": round(images_per_s, 2),
        "eta_s": round(unfinished / images_per_s, 1) if images_per_s else None if unfinished else 0,
        "oldest_waiting_s": _oldest_waiting_s(session, at),
        "processes": [asdict(status) for status in statuses],
        "canary": asdict(latest_canary) if latest_canary else None,
        "troubles": troubles(statuses, balanced=counts.balanced, canary=latest_canary),
    }


def _oldest_waiting_s(session: Session, at: datetime) -> float | None:
    oldest = oldest_pending(session)
    return None if oldest is None else round(max(0.0, (at - oldest).total_seconds()), 1)


def _summaries(session: Session, runs: Sequence[Run]) -> list[RunSummary]:
    """Return the runs and their file counts with three queries: two of tallies, one of the times of scores."""
    ids = [run.id for run in runs]
    receipts, images = (_by_run(_tallied(session, kind, ids)) for kind in (_OUTCOMES, _KINDS))
    ends = select(Run.id, _scored_at(func.min), _scored_at(func.max)).where(Run.id.in_(ids))
    spans = {run_id: span for run_id, *span in session.execute(ends)}
    return [
        RunSummary(run.name, run.started_at, _add_up(receipts[run.id], images[run.id]), *spans[run.id])
        for run in runs
    ]


def _scored_at(end: Callable[[Any], Any]) -> ScalarSelect[datetime]:
    """Select the time of the first or the last score of the row's run: either is one end of an index."""
    return select(end(Image.scored_at)).where(Image.run_id == Run.id).correlate(Run).scalar_subquery()


def _with_reason(what: Any, run_id: int | None, before: int | None, size: int) -> Any:
    narrower: list[ColumnElement[bool]] = []
    if run_id is not None:
        narrower.append(Image.run_id == run_id)
    if before is not None:
        narrower.append(Image.id < before)
    # An image has a reason exactly while it is rejected or quarantined; see the index.
    return what.where(Image.reason_code.is_not(None), *narrower).order_by(Image.id.desc()).limit(size)


def _tallied(
    session: Session, kind: Sequence[InstrumentedAttribute[Any]], run_ids: Sequence[int] | None
) -> Iterable[Row[Any]]:
    """Select the tallies by kind: of each of these runs, or of all runs together."""
    tally = kind[0].class_
    if run_ids is None:
        return session.execute(select(*kind, func.sum(tally.total).label("total")).group_by(*kind))
    return session.execute(select(tally.run_id, *kind, tally.total).where(tally.run_id.in_(run_ids)))


def _by_run(tallied: Iterable[Row[Any]]) -> defaultdict[int, list[Row[Any]]]:
    found = defaultdict(list)
    for row in tallied:
        found[row.run_id].append(row)
    return found


def _add_up(receipts: Iterable[Row[Any]], images: Iterable[Row[Any]]) -> FileCounts:
    """Add up the tallies of receipts and, independently, the tallies of images."""
    outcomes, states, verdicts, unread = Counter[str](), Counter[str](), Counter[str](), 0
    for row in receipts:
        outcomes[row.outcome] += int(row.total)
    for row in images:
        total = int(row.total)
        states[row.state] += total
        verdicts[row.verdict] += total if row.state == ImageState.SCORED else 0
        unread += total if row.review_state == ReviewState.UNREAD and row.verdict in NEEDS_READING else 0
    received, duplicates = outcomes.total(), outcomes[Outcome.DUPLICATE]
    by_state = {state.value: states[state] for state in ImageState}
    return FileCounts(
        received=received,
        duplicates=duplicates,
        images=states.total(),
        flagged=sum(verdicts[verdict] for verdict in NEEDS_READING),
        uncertain=verdicts["uncertain"],
        unread=unread,
        # An image in an unknown state counts as lost.
        balanced=received == duplicates + sum(by_state.values()) and sum(by_state.values()) == states.total(),
        **by_state,
    )
