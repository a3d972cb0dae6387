"""Signs of life: each process says every few seconds that it is there."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger.tables import Process

# A process is late after this many of its own periods.
_PERIODS = 3.0


@dataclass(frozen=True)
class Heartbeat:
    """How long ago a process last gave a sign of life, in seconds, and whether that is soon enough."""

    name: str
    host: str
    heartbeat_age_s: float
    ok: bool


def beat(session: Session, name: str, *, period_s: float, at: datetime) -> None:
    """Note that the process `name` of this host is alive; it will say so again in `period_s`."""
    host = socket.gethostname()
    row = session.scalars(select(Process).where(Process.name == name, Process.host == host)).one_or_none()
    if row is None:
        row = Process(name=name, host=host, pid=os.getpid(), started_at=at, beat_at=at, period_s=period_s)
        session.add(row)
    if row.pid != os.getpid():
        row.pid, row.started_at = os.getpid(), at
    row.beat_at, row.period_s = at, period_s


def farewell(session: Session, name: str) -> None:
    """Strike the process off: it stops because it was asked to."""
    row = session.scalars(
        select(Process).where(Process.name == name, Process.host == socket.gethostname())
    ).one_or_none()
    if row is not None:
        session.delete(row)


def heartbeats(session: Session, at: datetime) -> Sequence[Heartbeat]:
    """Every process that has ever said it is alive and has not said farewell, by name."""
    rows = session.scalars(select(Process).order_by(Process.name, Process.host))
    return [_heartbeat(row, at) for row in rows]


def _heartbeat(row: Process, at: datetime) -> Heartbeat:
    age = max(0.0, (at - row.beat_at).total_seconds())
    return Heartbeat(row.name, row.host, round(age, 1), age <= _PERIODS * row.period_s)
