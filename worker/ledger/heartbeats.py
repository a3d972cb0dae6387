"""Signs of life: each process says every few seconds that it is there."""

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

# A process is late after this many of its own periods.
_PERIODS = 3.0


@dataclass(frozen=True)
class ProcessStatus:
    """The last sign of life of a process.

    Attributes:
        name: for instance `worker`.
        host: where it runs.
        heartbeat_age_s: how long ago it gave one, in seconds.
        silent: whether that is too long.
        trouble: what its work waits for, or None.
        ok: neither of the two.
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
    """Note that the process `name` of this host is alive; it will say so again in `period_s`.

    `trouble` is what its work waits for.
    """
    # One statement: two processes of one name may start, or stop, at the same instant.
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Process).values(
        name=name, host=socket.gethostname(), pid=os.getpid(), started_at=at, beat_at=at, period_s=period_s,
        trouble=trouble,
    )  # fmt: skip
    new = row.excluded
    since = case((Process.pid == new.pid, Process.started_at), else_=new.started_at)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[Process.name, Process.host],
            set_={
                "pid": new.pid,
                "started_at": since,
                "beat_at": new.beat_at,
                "period_s": new.period_s,
                "trouble": new.trouble,
            },
        )
    )


def deregister(session: Session, name: str) -> None:
    """Strike this process off: it stops because it was asked to. Its successor's row stays."""
    mine = Process.name == name, Process.host == socket.gethostname(), Process.pid == os.getpid()
    session.execute(delete(Process).where(*mine))


def process_statuses(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """Every process that has ever said it is alive and has not said farewell, by name."""
    rows = session.scalars(select(Process).order_by(Process.name, Process.host))
    return [_status(row, at) for row in rows]


def _status(row: Process, at: datetime) -> ProcessStatus:
    age = (at - row.beat_at).total_seconds()
    # A beat of a time to come is from before the clock was set back: it says as little as an old one.
    silent = abs(age) > _PERIODS * row.period_s
    shown = round(max(0.0, age), 1)
    return ProcessStatus(row.name, row.host, shown, silent, row.trouble, not silent and not row.trouble)
