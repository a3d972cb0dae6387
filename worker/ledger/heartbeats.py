"""Heartbeats: the row that each long-running process writes every few seconds to show that it works."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.ledger.tables import Process

# A process counts as silent after this many of its own heartbeat periods.
_PERIODS = 3.0


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
    """

    name: str
    host: str
    heartbeat_age_s: float
    silent: bool
    trouble: str | None
    ok: bool


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


def process_statuses(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """Return the status of every process that has not deregistered, ordered by name and host."""
    rows = session.scalars(select(Process).order_by(Process.name, Process.host))
    return [_status(row, at) for row in rows]


def _status(row: Process, at: datetime) -> ProcessStatus:
    age_s = (at - row.beat_at).total_seconds()
    # A heartbeat from the future was written before the clock was set back: it proves nothing either.
    silent = abs(age_s) > _PERIODS * row.period_s
    shown_age_s = round(max(0.0, age_s), 1)
    return ProcessStatus(row.name, row.host, shown_age_s, silent, row.trouble, not silent and not row.trouble)
