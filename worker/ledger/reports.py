"""Counts that must balance, runs, what was turned away, and the morning report's figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from worker.ledger import canary, review
from worker.ledger.process_health import oldest_waiting, process_health, troubles
from worker.ledger.review import NEEDS_READING, QueueFilter
from worker.ledger.states import ImageState, Outcome, ReviewState
from worker.ledger.tables import Image, ImageTally, Prediction, Receipt, ReceiptTally, Run

_RATE_WINDOW_S = 60.0
_SLOWEST = 5
# What the tallies count by, besides the run.
_OUTCOMES = (ReceiptTally.outcome,)
_KINDS = (ImageTally.state, ImageTally.verdict, ImageTally.review_state)
# What a report says of an image; of a thousand of them it is quicker to read no more.
_REPORTED = (
    Image.id, Image.verdict, Image.p_pneumonia, Image.review_state, Image.phantom, Image.original_name,
    Image.state, Image.reason_code, Image.reason,
)  # fmt: skip


@dataclass(frozen=True)
class FileCounts:
    """How many of what, of everything or of one run.

    `received` counts receipts; `images` counts pictures, each in exactly one state;
    `flagged` those whose verdict asks for a reader, `uncertain` those of them in the band.
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
        """The equation of the promise, in numbers."""
        return (
            f"{self.received} received = {self.duplicates} duplicates + {self.scored} scored"
            f" + {self.rejected} rejected + {self.quarantined} quarantined"
            f" + {self.pending} pending + {self.leased} leased"
        )


@dataclass(frozen=True)
class RunSummary:
    """A run and its books; times are UTC, None before the first score."""

    name: str
    started_at: datetime
    file_counts: FileCounts
    first_scored_at: datetime | None
    last_scored_at: datetime | None


@dataclass(frozen=True)
class RunFigures:
    """The morning report of one run: first whether the books balance, then what to look at.

    `flagged` and `turned_away` are rows with the attributes of an `Image` that a report shows.
    """

    run: RunSummary
    flagged: Sequence[Any] = field(default_factory=list)
    rejected: Sequence[Any] = field(default_factory=list)
    slowest: Sequence[Image] = field(default_factory=list)


def file_counts(session: Session, run_id: int | None = None) -> FileCounts:
    """The books of everything, or of one run: its receipts, and the images that they brought."""
    run_ids = None if run_id is None else [run_id]
    return _add_up(_tallied(session, _OUTCOMES, run_ids), _tallied(session, _KINDS, run_ids))


def rate(session: Session, at: datetime) -> float:
    """Images scored a second over the last minute, or since the first of them if that is shorter."""
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
    """Runs with their books, the latest first; `before` is the id that the last page ended with."""
    older = [] if before is None else [Run.id < before]
    found = session.scalars(select(Run).where(*older).order_by(Run.id.desc()).limit(size)).all()
    return list(zip(found, _summaries(session, found), strict=True))


def run_names(session: Session, *, size: int = 60) -> Sequence[str]:
    """Names of the latest runs, the latest first."""
    return session.scalars(select(Run.name).order_by(Run.id.desc()).limit(size)).all()


def receipts(session: Session, receipt_ids: Sequence[int]) -> Sequence[Receipt]:
    """These receipts with their images, in the order in which they were written."""
    return session.scalars(
        select(Receipt)
        .where(Receipt.id.in_(receipt_ids))
        .options(joinedload(Receipt.image).joinedload(Image.run))
        .order_by(Receipt.id)
    ).all()


def summary(session: Session, run: Run) -> RunSummary:
    """One run and its books."""
    return _summaries(session, [run])[0]


def find_run(session: Session, name: str | None) -> Run | None:
    """The run of this name; without a name the latest one that is not the canaries'."""
    if name is None:
        latest = select(Run).where(Run.name != canary.RUN).order_by(Run.id.desc()).limit(1)
        return session.scalars(latest).one_or_none()
    return session.scalars(select(Run).where(Run.name == name)).one_or_none()


def run_figures(session: Session, run: Run, *, limit: int = 1_000) -> RunFigures:
    """The figures of a run's report; lists are cut at `limit`, the books are not."""
    first = review.most_urgent(session, QueueFilter(review=None, run=run.name), limit=limit)
    flagged = session.execute(
        select(*_REPORTED)
        .join(first, Image.id == first.c.id)
        .order_by(first.c.p_pneumonia.desc(), first.c.id)
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
    """Rejected and quarantined images, the latest first; `before` is an image id (keyset paging)."""
    images = _with_reason(select(Image), run_id, before, size)
    return session.scalars(images.options(joinedload(Image.run))).all()


def status_document(session: Session, at: datetime) -> dict[str, Any]:
    """What `nightread status --json` and the API say: the books, the rate, the signs of life.

    `eta_s` is 0 when nothing waits, and null when something does and nothing is being scored.
    `oldest_waiting_s` is how long ago the oldest pending image arrived, null when none waits; `troubles`
    has a sentence for each thing that a person should look into.
    """
    counted, images_per_s, signs = file_counts(session), rate(session, at), process_health(session, at)
    result = canary.latest_canary(session, at)
    waiting = counted.pending + counted.leased
    return {
        **asdict(counted),
        "images_per_s": round(images_per_s, 2),
        "eta_s": round(waiting / images_per_s, 1) if images_per_s else None if waiting else 0,
        "oldest_waiting_s": _oldest_waiting_s(session, at),
        "processes": [asdict(sign) for sign in signs],
        "canary": asdict(result) if result else None,
        "troubles": troubles(signs, balanced=counted.balanced, canary=result),
    }


def _oldest_waiting_s(session: Session, at: datetime) -> float | None:
    oldest = oldest_waiting(session)
    return None if oldest is None else round(max(0.0, (at - oldest).total_seconds()), 1)


def _summaries(session: Session, runs: Sequence[Run]) -> list[RunSummary]:
    """The runs and their books, in two looks at the tallies and one at the ends of each run."""
    ids = [run.id for run in runs]
    receipts, images = (_by_run(_tallied(session, kind, ids)) for kind in (_OUTCOMES, _KINDS))
    ends = select(Run.id, _scored_at(func.min), _scored_at(func.max)).where(Run.id.in_(ids))
    spans = {run_id: span for run_id, *span in session.execute(ends)}
    return [
        RunSummary(run.name, run.started_at, _add_up(receipts[run.id], images[run.id]), *spans[run.id])
        for run in runs
    ]


def _scored_at(end: Callable[[Any], Any]) -> ScalarSelect[datetime]:
    """The first or the last score of the run of the row: either is one end of an index."""
    return select(end(Image.scored_at)).where(Image.run_id == Run.id).correlate(Run).scalar_subquery()


def _with_reason(what: Any, run_id: int | None, before: int | None, size: int) -> Any:
    narrower: list[ColumnElement[bool]] = []
    if run_id is not None:
        narrower.append(Image.run_id == run_id)
    if before is not None:
        narrower.append(Image.id < before)
    # See the index: an image has a reason while it is turned away, and at no other time.
    return what.where(Image.reason_code.is_not(None), *narrower).order_by(Image.id.desc()).limit(size)


def _tallied(
    session: Session, kind: Sequence[InstrumentedAttribute[Any]], run_ids: Sequence[int] | None
) -> Iterable[Row[Any]]:
    """What was tallied by kind: of each of these runs, or of all together."""
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
    """The books of what was tallied of the receipts, and, apart from them, of the images."""
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
        # An image in a state that there is not counts as one that was lost.
        balanced=received == duplicates + sum(by_state.values()) and sum(by_state.values()) == states.total(),
        **by_state,
    )
