"""What the monitor keeps of each UTC day, so that no page counts a million images: a cache of `monitor_counts`.

Every change of an image has an event in the audit trail. `advance` reads the events since the last round and says which
days they are about; those are counted anew. Nothing else marks a day, so nothing is missed: a reading of an old image
refreshes its day.

The cache can be counted anew at any time (`begin`). It is never the truth, and no event proves it.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.monitor_counts import Group, day_of, start_of
from worker.ledger.monitored_groups import Dimension
from worker.ledger.tables import AuditEvent, Image, MonitorDay, MonitorState, Prediction
from worker.monitor.counts import Counts

_COUNTED, _FOUND = "counted", "found"
# Events about images that change nothing that is counted.
_WITHOUT_EFFECT = ("bytes_removed", "numbers_erased", "texts_erased", "rescore_seen", "claim_taken_over")
# A re-triage changes images of any day, and its event names none.
_OF_EVERY_DAY = "retriaged"
_OF_IMAGE = "image:"
# Events of one round, and ids in one statement.
EVENTS, _IDS = 20_000, 5_000


@dataclass(frozen=True)
class Mark:
    """How far the monitor has counted.

    Attributes:
        seq: the last event of the audit trail that was looked at; None: nothing was counted yet.
        stale: days to count anew, the latest first.
    """

    seq: int | None
    stale: Sequence[date] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The mark as its row holds it."""
        return {"seq": self.seq, "stale": [day.isoformat() for day in self.stale]}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Mark:
        """Return the mark of a row."""
        return cls(document.get("seq"), tuple(map(date.fromisoformat, document.get("stale", ()))))

    def without(self, days: Collection[date]) -> Mark:
        """Return the mark after these days were counted."""
        return Mark(self.seq, tuple(day for day in self.stale if day not in days))


@dataclass(frozen=True)
class DayCounts:
    """What was counted of a group on a day, as it is kept (`Counts.to_json`). `as_of` is the time until which it holds."""

    day: date
    group: Group
    document: Mapping[str, Any]
    as_of: datetime

    @property
    def counts(self) -> Counts:
        """What was counted."""
        return Counts.from_json(self.document)


@dataclass(frozen=True)
class Found:
    """What the monitor found when it last compared the days, up to `day` at the time `at`.

    `alerts` are documents of JSON: see `worker.monitoring`.
    """

    day: date
    at: datetime
    alerts: Sequence[Mapping[str, Any]]


def mark(session: Session) -> Mark:
    """Return how far the monitor has counted."""
    row = session.get(MonitorState, _COUNTED)
    return Mark(None) if row is None else Mark.parse(row.value)


def advance(session: Session, before: Mark) -> Mark:
    """Return the mark after the next events, at most `EVENTS`, with the days that they are about."""
    if before.seq is None:
        return Mark(audit.head(session)[0], _latest_first(_days_with_images(session)))
    columns = AuditEvent.seq, AuditEvent.kind, AuditEvent.subject
    events = session.execute(
        select(*columns).where(AuditEvent.seq > before.seq).order_by(AuditEvent.seq).limit(EVENTS)
    ).all()
    if not events:
        return before
    days = set(before.stale)
    if any(event.kind == _OF_EVERY_DAY for event in events):
        days |= _days_with_images(session)
    image_ids = {
        int(event.subject.removeprefix(_OF_IMAGE))
        for event in events
        if event.subject.startswith(_OF_IMAGE) and event.kind not in _WITHOUT_EFFECT
    }
    return Mark(events[-1].seq, _latest_first(days | _days_of(session, image_ids)))


def keep(
    session: Session,
    before: Mark,
    after: Mark,
    counted: Mapping[date, Mapping[Group, Counts]],
    at: datetime,
) -> bool:
    """Replace the counts of some days, and the mark. Return False, and change nothing, if it is not `before` any more.

    Then another process has counted meanwhile, perhaps later than this one. `at` is the time when the days were counted.
    """
    row = session.get(MonitorState, _COUNTED, with_for_update=True)
    if row is None or Mark.parse(row.value) != before:
        return False
    row.value, row.at = after.document, at
    session.execute(delete(MonitorDay).where(MonitorDay.day.in_(counted)))
    rows = [
        {
            "day": day,
            "dimension": group.dimension.value,
            "group_name": group.name,
            "model_id": group.model_id,
            "counts": counts.to_json(),
            "as_of": at,
        }
        for day, of_day in counted.items()
        for group, counts in of_day.items()
    ]
    if rows:
        session.execute(insert(MonitorDay), rows)
    return True


def begin(session: Session, at: datetime) -> None:
    """Have every day counted anew, from the next round on. Until then, the earlier counts stay."""
    row = session.get(MonitorState, _COUNTED, with_for_update=True)
    if row is None:
        session.add(MonitorState(name=_COUNTED, value=Mark(None).document, at=at))
    else:
        row.value, row.at = Mark(None).document, at


def counts(
    session: Session, dimension: Dimension, first: date, last: date, *, group: str | None = None
) -> list[DayCounts]:
    """Return the counts of a dimension from one day to another, the earliest first; only of one group if it is named."""
    rows = select(MonitorDay).where(
        MonitorDay.dimension == dimension.value, MonitorDay.day >= first, MonitorDay.day <= last
    )
    if group is not None:
        rows = rows.where(MonitorDay.group_name == group)
    columns = MonitorDay.day, MonitorDay.group_name, MonitorDay.model_id, MonitorDay.counts, MonitorDay.as_of
    kept = session.execute(rows.with_only_columns(*columns).order_by(MonitorDay.day, MonitorDay.group_name))
    return [
        DayCounts(
            row.day,
            Group(dimension, row.group_name, row.model_id),
            row.counts,
            row.as_of,
        )
        for row in kept
    ]


def groups(session: Session, dimension: Dimension) -> set[str]:
    """Return the groups of a dimension in which images were ever counted."""
    names = select(MonitorDay.group_name).where(MonitorDay.dimension == dimension.value).distinct()
    return set(session.scalars(names))


def added(rows: Iterable[DayCounts]) -> Counts:
    """Add up what was counted. Adding the documents takes a fifth of the time that adding `Counts` takes."""
    sums: dict[str, Any] = {}
    for row in rows:
        _add(sums, row.document)
    return Counts.from_json(sums)


def extent(session: Session) -> tuple[date, date] | None:
    """Return the first and the last day with an image; None without any."""
    days = select(func.min(MonitorDay.day), func.max(MonitorDay.day))
    first, last = session.execute(days.where(MonitorDay.dimension == Dimension.ALL.value)).one()
    return None if first is None else (first, last)


def counted_until(session: Session, last: date) -> datetime | None:
    """Return when a day up to `last` was counted last; None if no such day has an image."""
    latest = select(MonitorDay.as_of).where(MonitorDay.day <= last).order_by(MonitorDay.as_of.desc()).limit(1)
    return session.scalar(latest)


def keep_found(session: Session, day: date, alerts: Iterable[Mapping[str, Any]], at: datetime) -> None:
    """Keep what the monitor found in the days up to `day`."""
    value = {"day": day.isoformat(), "alerts": list(alerts)}
    row = session.get(MonitorState, _FOUND, with_for_update=True)
    if row is None:
        session.add(MonitorState(name=_FOUND, value=value, at=at))
    else:
        row.value, row.at = value, at


def found(session: Session) -> Found | None:
    """Return what the monitor found last; None before it has compared any days."""
    row = session.get(MonitorState, _FOUND)
    if row is None:
        return None
    return Found(date.fromisoformat(row.value["day"]), row.at, row.value["alerts"])


def attention(session: Session) -> list[Mapping[str, Any]]:
    """Return the alerts that need attention, as they are kept."""
    kept = found(session)
    return [] if kept is None else [alert for alert in kept.alerts if alert["attention"]]


def _add(sums: dict[str, Any], document: Mapping[str, Any]) -> None:
    """Add the numbers of a document to those of the same keys and places."""
    for key, value in document.items():
        if isinstance(value, dict):
            _add(sums.setdefault(key, {}), value)
        elif key not in sums:
            sums[key] = value
        elif isinstance(value, list):
            sums[key] = list(map(operator.add, sums[key], value))
        else:
            sums[key] += value


def _latest_first(days: Iterable[date]) -> tuple[date, ...]:
    return tuple(sorted(days, reverse=True))


def _days_with_images(session: Session) -> set[date]:
    """Return the days of scores, of rejected images, and of counts that are kept."""
    days = set(session.scalars(select(MonitorDay.day).distinct()))
    days |= {
        day_of(at) for at in session.scalars(select(Image.received_at).where(Image.reason_code.is_not(None)))
    }
    after = datetime.min.replace(tzinfo=UTC)
    # The first score of each day is found by the index: there are few days, and many scores.
    next_score = select(func.min(Prediction.finished_at))
    while (at := session.scalar(next_score.where(Prediction.finished_at >= after))) is not None:
        days.add(day_of(at))
        after = start_of(day_of(at) + timedelta(days=1))
    return days


def _days_of(session: Session, image_ids: Collection[int]) -> set[date]:
    """Return the days on which these images arrived or were scored, now or earlier."""
    ids, days = sorted(image_ids), set()
    for first in range(0, len(ids), _IDS):
        page = ids[first : first + _IDS]
        scored = select(Prediction.finished_at).where(Prediction.image_id.in_(page))
        arrived = select(Image.received_at).where(Image.id.in_(page))
        for at in (*session.scalars(scored), *session.scalars(arrived)):
            days.add(day_of(at))
    return days
