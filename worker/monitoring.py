"""Keeps the counts of the monitor up to date, a few days at a time, and looks for what has changed.

The sweeper calls it. It reads in one transaction and writes in another one, which is short and leaves the audit trail
alone, so nobody waits for it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from worker.ledger import models, monitor_counts, monitoring
from worker.ledger.monitor_counts import NO_MODEL, day_of
from worker.ledger.monitored_groups import Dimension
from worker.ledger.monitoring import DayCounts
from worker.ledger.session import Ledger, ledger_time
from worker.monitor.alerts import Alert, Group, alerts, need_attention
from worker.monitor.counts import Counts

# Seconds between two rounds, and how many times as long as a round took the next one waits at least.
_PERIOD_S, _REST = 60.0, 20.0
# Days that are counted in one transaction.
_DAYS = 7
# Months before the present one whose days are compared. They begin with a whole month, so that what was usual at first stays
# the same for a month.
_MONTHS = 12


@dataclass(frozen=True)
class Step:
    """What a step of counting did: the days that it counted, and those that are left."""

    counted: int
    left: int


class Monitoring:
    """Counts in the rounds of the sweeper."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep the ledger; nothing is read yet."""
        self._ledger = ledger
        self._next = time.monotonic()
        self._compared: Compared | None = None

    def run_some(self) -> None:
        """Count some days if it is time, and compare them once none is left. Raises TransientFailure."""
        began = time.monotonic()
        if began < self._next:
            return
        step = count_some(self._ledger)
        if not step.left:
            self._compared = compare(self._ledger, self._compared)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_REST * took, 0.0 if step.left else _PERIOD_S)


def count_some(ledger: Ledger) -> Step:
    """Count the next days whose images have changed. If another process has counted meanwhile, its counts stay.

    Raises TransientFailure.
    """
    with ledger.reading() as session:
        at = ledger_time(session)
        before = monitoring.mark(session)
        after = monitoring.advance(session, before)
        days = after.stale[:_DAYS]
        counted = monitor_counts.count_days(session, days)
    after = after.without(days)
    if after != before:
        with ledger.transaction() as session:
            monitoring.keep(session, before, after, counted, at)
    return Step(len(days), len(after.stale))


@dataclass(frozen=True)
class Compared:
    """What was compared: the days up to `last`, of a model, as they had been counted when the mark was `seq`."""

    last: date
    model_id: int
    as_of: datetime


def compare(ledger: Ledger, before: Compared | None = None) -> Compared | None:
    """Look for what has changed among the days that are over, and keep it, unless they are the same as `before`.

    Return what was compared; None if there is nothing to compare. Raises TransientFailure.
    """
    with ledger.reading() as session:
        at = ledger_time(session)
        model, last = models.active_model(session), day_of(at) - timedelta(days=1)
        as_of = monitoring.counted_until(session, last)
        if model is None or as_of is None:
            return None
        compared = Compared(last, model.id, as_of)
        if compared == before:
            return before
        groups, first = _groups(session, model.id, last)
    raised = alerts(groups, first, last)
    attention = need_attention(raised, day_of(at))
    with ledger.transaction() as session:
        documents = [_document(alert, attention=alert in attention) for alert in raised]
        monitoring.keep_found(session, last, documents, at)
    return compared


def _groups(session: Session, model_id: int, last: date) -> tuple[dict[Group, dict[date, Counts]], date]:
    """Return the days of each group, with rejected images, and the first day."""
    first = last.replace(day=1)
    for _ in range(_MONTHS):
        first = (first - timedelta(days=1)).replace(day=1)
    extent = monitoring.extent(session)
    first = max(first, extent[0]) if extent else first
    rows: dict[Group, dict[date, list[DayCounts]]] = defaultdict(lambda: defaultdict(list))
    for dimension in Dimension:
        for row in monitoring.counts(session, dimension, first, last):
            if row.group.model_id in {model_id, NO_MODEL}:
                name = "" if dimension is Dimension.ALL else row.group.name
                rows[dimension.value, name][row.day].append(row)
    groups = {
        group: {day: monitoring.added(of_day) for day, of_day in days.items()} for group, days in rows.items()
    }
    return groups, first


def _document(alert: Alert, *, attention: bool) -> Mapping[str, Any]:
    """Return an alert as it is kept."""
    return {
        **{name: getattr(alert, name) for name in ("dimension", "group", "sentence", "sure", "rose", "z")},
        "figure": alert.figure.value,
        "cause": alert.cause.value,
        "since": alert.since.isoformat(),
        "found": alert.found.isoformat(),
        "before": asdict(alert.before),
        "now": asdict(alert.now),
        "also": [list(group) for group in alert.also],
        "attention": attention,
    }


def begin(ledger: Ledger) -> None:
    """Have every day counted anew. Raises TransientFailure."""
    with ledger.transaction() as session:
        monitoring.begin(session, ledger_time(session))


def count_all(ledger: Ledger) -> None:
    """Count until no day is left. Raises TransientFailure."""
    while count_some(ledger).left:
        pass
