"""Heartbeats: the row that each long-running process writes every few seconds to show that it works."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.ledger.tables import Process

# A process counts as silent after this many of its own heartbeat periods.
_PERIODS = 3.0
# After so long, a process of a host that another one has replaced is no longer missed.
_REPLACED_AFTER = timedelta(days=7)
WORKER = "worker"
_SCORING = "scoring-"


@dataclass(frozen=True)
class ProcessStatus:
    """The status of a process, from its last heartbeat.

    Attributes:
        name: name of the process, for example `worker`.
        host: host that it runs on.
        heartbeat_age_s: seconds since the last heartbeat.
        silent: whether the heartbeat is overdue.
        trouble: what the process is waiting for; None if nothing.
        ok: neither silent nor waiting.
        scoring: the scoring processes of a worker, each from its own heartbeats.
    """

    name: str
    host: str
    heartbeat_age_s: float
    silent: bool
    trouble: str | None
    ok: bool
    scoring: Sequence[ScoringStatus] = ()


@dataclass(frozen=True)
class ScoringStatus:
    """The status of a scoring process: its number, its process id, and whether its heartbeat is overdue."""

    number: int
    pid: int
    heartbeat_age_s: float
    silent: bool


def scoring_name(number: int) -> str:
    """Return the name under which scoring process `number` (from 1) of a worker sends its heartbeats."""
    return f"{_SCORING}{number}"


def record_heartbeat(
    session: Session, name: str, *, period_s: float, at: datetime, trouble: str | None = None
) -> None:
    """Record a heartbeat of the process `name` on this host.

    Args:
        session: of a transaction.
        name: name of the process.
        period_s: seconds until the next heartbeat.
        at: the time by the ledger's clock.
        trouble: what the process is waiting for.
    """
    # One statement, because two processes of one name may start or stop at the same instant.
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Process).values(
        name=name, host=socket.gethostname(), pid=os.getpid(), started_at=at, beat_at=at, period_s=period_s,
        trouble=trouble,
    )  # fmt: skip
    new_row = row.excluded
    started_at = case((Process.pid == new_row.pid, Process.started_at), else_=new_row.started_at)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[Process.name, Process.host],
            set_={
                "pid": new_row.pid,
                "started_at": started_at,
                "beat_at": new_row.beat_at,
                "period_s": new_row.period_s,
                "trouble": new_row.trouble,
            },
        )
    )


def deregister(session: Session, name: str) -> None:
    """Remove the heartbeat of this process, which is stopping; the row of a successor stays."""
    this_process = Process.name == name, Process.host == socket.gethostname(), Process.pid == os.getpid()
    session.execute(delete(Process).where(*this_process))


def deregister_scoring(session: Session) -> None:
    """Remove the heartbeats of this host's scoring processes; a worker that was killed has left them."""
    scoring = Process.name.startswith(_SCORING, autoescape=True), Process.host == socket.gethostname()
    session.execute(delete(Process).where(*scoring))


def process_statuses(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """Return the status of every process that has not deregistered, ordered by name and host.

    A scoring process is part of the worker on its host. A process that was killed on a host that never came back, as each new
    container has another name, is left out after a week in which one of its name works elsewhere.
    """
    rows = session.scalars(select(Process).order_by(Process.name, Process.host)).all()
    scoring: dict[str, list[ScoringStatus]] = defaultdict(list)
    for row in rows:
        if row.name.startswith(_SCORING):
            scoring[row.host].append(_scoring_status(row, at))
    statuses = [
        replace(_status(row, at), scoring=scoring[row.host] if row.name == WORKER else ())
        for row in rows
        if not row.name.startswith(_SCORING)
    ]
    working = {status.name for status in statuses if not status.silent}
    longest_s = _REPLACED_AFTER.total_seconds()
    return [
        status
        for status in statuses
        if not (status.silent and status.heartbeat_age_s > longest_s and status.name in working)
    ]


def _scoring_status(row: Process, at: datetime) -> ScoringStatus:
    status = _status(row, at)
    number = int(row.name.removeprefix(_SCORING))
    return ScoringStatus(number, row.pid, status.heartbeat_age_s, status.silent)


def _status(row: Process, at: datetime) -> ProcessStatus:
    age_s = (at - row.beat_at).total_seconds()
    # A heartbeat from the future was written before the clock was set back: it proves nothing either.
    silent = abs(age_s) > _PERIODS * row.period_s
    shown_age_s = round(max(0.0, age_s), 1)
    return ProcessStatus(row.name, row.host, shown_age_s, silent, row.trouble, not silent and not row.trouble)
