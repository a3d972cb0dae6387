"""The health of the running program, from the ledger's own rows as well as from heartbeats.

A worker sends its heartbeats from a separate thread, which continues even if the worker has stopped taking
tasks after its connection to the broker came back. So this module also checks that pending images are leased.
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
# The processes that must run, on one machine or on several together.
NEEDED = ("watch", "sweeper", WORKER)
# Twice the default time after which the images of a dead worker are pending again.
STALLED_S = 120.0


def process_health(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """Return the status of every process; a worker that leases no pending images is marked as not ok."""
    statuses = process_statuses(session, at)
    if not is_stalled(session, at):
        return statuses
    return [_stalled(status) if status.name == WORKER and status.ok else status for status in statuses]


def oldest_pending(session: Session) -> datetime | None:
    """Return when the oldest pending image arrived; None if no image is pending."""
    oldest_arrivals = []
    for lane in Lane:
        pending = Image.state == ImageState.PENDING, Image.lane == lane
        oldest = select(func.min(Image.id)).where(*pending).scalar_subquery()
        oldest_arrivals.append(session.scalar(select(Image.received_at).where(Image.id == oldest)))
    return min((arrival for arrival in oldest_arrivals if arrival is not None), default=None)


def is_stalled(session: Session, at: datetime) -> bool:
    """Return whether images have been pending for `STALLED_S` and no worker has done anything.

    A worker has done something if an image is leased, or if in this time an image was scored or a worker started.
    """
    since = at - timedelta(seconds=STALLED_S)
    oldest = oldest_pending(session)
    if oldest is None or oldest > since:
        return False
    activity = (
        exists().where(Image.state == ImageState.LEASED, Image.lease_until > at),
        exists().where(Prediction.finished_at > since),
        exists().where(Process.name == WORKER, Process.started_at > since),
    )
    return not any(session.scalar(select(condition)) for condition in activity)


def troubles(
    statuses: Sequence[ProcessStatus], *, balanced: bool, canary: CanaryResult | None = None
) -> list[str]:
    """Return a sentence for each problem that a person should look into. Pure."""
    sentences = [] if balanced else ["Files are unaccounted for: run `nightread db check`."]
    running = {status.name for status in statuses}
    sentences += [f"No {name} process is running." for name in NEEDED if name not in running]
    for status in statuses:
        process = f"{status.name} on {status.host}"
        if status.silent:
            sentences.append(f"{process} has sent no heartbeat for {status.heartbeat_age_s:.0f} s.")
        elif status.trouble:
            sentences.append(f"{process} is waiting: {status.trouble}.")
    return [*sentences, canary.trouble] if canary and canary.trouble else sentences


def _stalled(status: ProcessStatus) -> ProcessStatus:
    return replace(status, trouble="images are pending, but this worker leases none of them", ok=False)
