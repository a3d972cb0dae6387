"""Is anything wrong with the program as a whole? Derived from what the ledger holds, not from what is claimed.

A worker's sign of life comes from a thread of its own, which goes on beating when the worker has come back to
its broker and takes nothing any more. That nothing happens though images wait is seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from worker.ledger.canary import CanaryResult
from worker.ledger.heartbeats import ProcessStatus, process_statuses
from worker.ledger.states import ImageState, Lane
from worker.ledger.tables import Image, Prediction, Process

WORKER = "worker"
# What a machine, or several together, must run.
NEEDED = ("watch", "sweeper", WORKER)
# Twice the time after which the images of a worker that died are given on, by default.
STALLED_S = 120.0


def process_health(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """The signs of life; a worker that takes nothing though images wait says so, whatever it claims."""
    signs = process_statuses(session, at)
    if not is_stalled(session, at):
        return signs
    return [_takes_nothing(sign) if sign.name == WORKER and sign.ok else sign for sign in signs]


def oldest_waiting(session: Session) -> datetime | None:
    """When the oldest pending image arrived; None when none waits."""
    arrived = []
    for lane in Lane:
        waits = Image.state == ImageState.PENDING, Image.lane == lane
        oldest = select(func.min(Image.id)).where(*waits).scalar_subquery()
        arrived.append(session.scalar(select(Image.received_at).where(Image.id == oldest)))
    return min((when for when in arrived if when is not None), default=None)


def is_stalled(session: Session, at: datetime) -> bool:
    """Whether images wait and nothing has been done about it for `STALLED_S`.

    Nothing: no image is leased, none was scored, and no worker has only just started.
    """
    since = at - timedelta(seconds=STALLED_S)
    oldest = oldest_waiting(session)
    if oldest is None or oldest > since:
        return False
    busy = (
        exists().where(Image.state == ImageState.LEASED, Image.lease_until > at),
        exists().where(Prediction.finished_at > since),
        exists().where(Process.name == WORKER, Process.started_at > since),
    )
    return not any(session.scalar(select(each)) for each in busy)


def troubles(
    signs: Sequence[ProcessStatus], *, balanced: bool, canary: CanaryResult | None = None
) -> list[str]:
    """A sentence for each thing that a person should look into; none when all is well. Pure."""
    found = [] if balanced else ["The books do not balance."]
    there = {sign.name for sign in signs}
    found += [f"No {name} is running." for name in NEEDED if name not in there]
    for sign in signs:
        if sign.silent:
            found.append(f"{sign.name} on {sign.host} is silent for {sign.heartbeat_age_s:.0f} s.")
        elif sign.trouble:
            found.append(f"{sign.name} on {sign.host} waits: {sign.trouble}.")
    return [*found, canary.trouble] if canary and canary.trouble else found


def _takes_nothing(sign: ProcessStatus) -> ProcessStatus:
    return replace(sign, trouble="it takes nothing, though images wait", ok=False)
