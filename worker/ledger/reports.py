"""Counts that must balance, runs, what was turned away, and the morning report's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from worker.ledger import canary
from worker.ledger.review import NEEDS_READING
from worker.ledger.states import ImageState, Lane, Outcome, ReviewState
from worker.ledger.tables import Image, Prediction, Receipt, Run
from worker.ledger.vitals import troubles, vitals

_RATE_WINDOW_S = 60.0


@dataclass(frozen=True)
class Books:
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
    def line(self) -> str:
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
    books: Books
    first_scored_at: datetime | None
    last_scored_at: datetime | None


@dataclass(frozen=True)
class Morning:
    """The morning report of one run: first whether the books balance, then what to look at."""

    run: RunSummary
    flagged: Sequence[Image] = field(default_factory=list)
    turned_away: Sequence[Image] = field(default_factory=list)
    slowest: Sequence[Prediction] = field(default_factory=list)


def books(session: Session, run_id: int | None = None) -> Books:
    """Count everything, or one run: its receipts, and the images that they brought."""
    of_receipts: list[ColumnElement[bool]] = [] if run_id is None else [Receipt.run_id == run_id]
    of_images: list[ColumnElement[bool]] = [] if run_id is None else [Image.run_id == run_id]
    outcomes = _counts(session, Receipt.outcome, of_receipts)
    states = _counts(session, Image.state, of_images)
    verdicts = _counts(session, Image.verdict, [Image.state == ImageState.SCORED, *of_images])
    unread = session.scalar(
        select(func.count())
        .select_from(Image)
        .where(Image.review_state == ReviewState.UNREAD, Image.verdict.in_(NEEDS_READING), *of_images)
    )
    received, duplicates = sum(outcomes.values()), outcomes.get(Outcome.DUPLICATE, 0)
    by_state = {state.value: states.get(state, 0) for state in ImageState}
    return Books(
        received=received,
        duplicates=duplicates,
        images=sum(states.values()),
        flagged=sum(verdicts.get(verdict, 0) for verdict in NEEDS_READING),
        uncertain=verdicts.get("uncertain", 0),
        unread=unread or 0,
        balanced=received == duplicates + sum(by_state.values()) and set(states) <= set(ImageState),
        **by_state,
    )


def rate(session: Session, at: datetime) -> float:
    """Images scored a second over the last minute, or since the first of them if that is shorter."""
    since = at - timedelta(seconds=_RATE_WINDOW_S)
    count, first = session.execute(
        select(func.count(), func.min(Prediction.started_at)).where(Prediction.finished_at >= since)
    ).one()
    if not count:
        return 0.0
    span = min(_RATE_WINDOW_S, max(1.0, (at - _aware(first, at)).total_seconds()))
    return float(count / span)


def runs(session: Session, *, before: int | None = None, size: int = 20) -> list[tuple[Run, RunSummary]]:
    """Runs with their books, the latest first; `before` is the id that the last page ended with."""
    older = [] if before is None else [Run.id < before]
    found = session.scalars(select(Run).where(*older).order_by(Run.id.desc()).limit(size)).all()
    return [(run, summary(session, run)) for run in found]


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
    first, last = session.execute(
        select(func.min(Prediction.finished_at), func.max(Prediction.finished_at))
        .join(Image, Image.id == Prediction.image_id)
        .where(Image.run_id == run.id)
    ).one()
    return RunSummary(run.name, run.started_at, books(session, run.id), first, last)


def find_run(session: Session, name: str | None) -> Run | None:
    """The run of this name; without a name the latest one that is not the canaries'."""
    if name is None:
        latest = select(Run).where(Run.name != canary.RUN).order_by(Run.id.desc()).limit(1)
        return session.scalars(latest).one_or_none()
    return session.scalars(select(Run).where(Run.name == name)).one_or_none()


def morning(session: Session, run: Run, *, limit: int = 1_000) -> Morning:
    """The figures of a run's report; lists are cut at `limit`, the books are not."""
    flagged = session.scalars(
        select(Image)
        .where(Image.run_id == run.id, Image.verdict.in_(NEEDS_READING))
        .order_by(Image.p_pneumonia.desc(), Image.id)
        .limit(limit)
    ).all()
    slowest = session.scalars(
        select(Prediction)
        .join(Image, Image.id == Prediction.image_id)
        .where(Image.run_id == run.id)
        .options(joinedload(Prediction.image))
        .order_by(Prediction.compute_ms.desc())
        .limit(5)
    ).all()
    return Morning(summary(session, run), flagged, turned_away(session, run_id=run.id, size=limit), slowest)


def turned_away(
    session: Session, *, run_id: int | None = None, before: int | None = None, size: int = 50
) -> Sequence[Image]:
    """Rejected and quarantined images, the latest first; `before` is an image id (keyset paging)."""
    narrower: list[ColumnElement[bool]] = []
    if run_id is not None:
        narrower.append(Image.run_id == run_id)
    if before is not None:
        narrower.append(Image.id < before)
    return session.scalars(
        select(Image)
        .where(or_(Image.state == ImageState.REJECTED, Image.state == ImageState.QUARANTINED), *narrower)
        .options(joinedload(Image.run))
        .order_by(Image.id.desc())
        .limit(size)
    ).all()


def status_document(session: Session, at: datetime) -> dict[str, Any]:
    """What `nightread status --json` and the API say: the books, the rate, the signs of life.

    `eta_s` is 0 when nothing waits, and null when something does and nothing is being scored.
    `oldest_waiting_s` is how long ago the oldest pending image arrived, null when none waits; `troubles`
    has a sentence for each thing that a person should look into.
    """
    counted, images_per_s, signs = books(session), rate(session, at), vitals(session, at)
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
    arrived = [
        session.scalar(
            select(Image.received_at)
            .where(Image.state == ImageState.PENDING, Image.lane == lane)
            .order_by(Image.id)
            .limit(1)
        )
        for lane in Lane
    ]
    ages = [(at - each).total_seconds() for each in arrived if each is not None]
    return round(max(0.0, *ages), 1) if ages else None


def _counts(
    session: Session,
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    conditions: Sequence[ColumnElement[bool]],
) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).where(*conditions).group_by(column))
    return {key: count for key, count in rows if key is not None}


def _aware(value: datetime | str | None, fallback: datetime) -> datetime:
    """An aggregate of a time: the type decorator gives it back aware."""
    return value if isinstance(value, datetime) else fallback
