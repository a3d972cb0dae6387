"""The health of the running program, from the ledger's own rows as well as from heartbeats.

A worker sends its heartbeats from a separate thread, which continues even if the worker has stopped taking
tasks after its connection to the broker came back. So each scoring process sends heartbeats of its own, and this
module also checks that pending images are leased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from worker.durations import duration
from worker.ledger.canary import CanaryResult
from worker.ledger.heartbeats import WORKER, ProcessStatus, process_statuses
from worker.ledger.states import ImageState, Lane
from worker.ledger.tables import Image, Prediction, Process, Rescore

# The processes that must run, on one machine or on several together.
NEEDED = ("watch", "sweeper", WORKER)
# Twice the default time after which the images of a dead worker are pending again.
STALLED_S = 120.0


def process_health(session: Session, at: datetime) -> Sequence[ProcessStatus]:
    """Return the status of every process.

    A worker is not ok if one of its scoring processes makes no progress, or if it leases no pending images.
    """
    statuses = [_with_silent_scoring(status) for status in process_statuses(session, at)]
    if not is_stalled(session, at):
        return statuses
    return [_stalled(status) if status.name == WORKER and status.ok else status for status in statuses]


def oldest_pending(session: Session) -> datetime | None:
    """Return when the oldest pending image arrived, or lost its score to be scored again; None if none is pending."""
    return _oldest(session, ImageState.PENDING)


def oldest_unfinished(session: Session) -> datetime | None:
    """Like `oldest_pending`, for images that are pending or being scored."""
    arrivals = (_oldest(session, ImageState.PENDING), _oldest(session, ImageState.LEASED))
    return min((arrival for arrival in arrivals if arrival is not None), default=None)


def _oldest(session: Session, state: ImageState) -> datetime | None:
    oldest_arrivals = []
    for lane in Lane:
        waiting = Image.state == state, Image.lane == lane
        oldest = select(func.min(Image.id)).where(*waiting).scalar_subquery()
        rescored_at = select(func.max(Rescore.at)).where(Rescore.image_id == Image.id).scalar_subquery()
        waits_since = func.coalesce(rescored_at, Image.received_at)
        oldest_arrivals.append(session.scalar(select(waits_since).where(Image.id == oldest)))
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
    statuses: Sequence[ProcessStatus],
    *,
    balanced: bool,
    canary: CanaryResult | None = None,
    waited_s: float | None = None,
    rescored: int = 0,
    populations: Sequence[str] = (),
    thresholds: str | None = None,
    candidates: Sequence[str] = (),
    monitor: Sequence[str] = (),
) -> list[str]:
    """Return a sentence for each problem that a person should look into. Pure.

    `waited_s` is the time since the oldest image arrived that is not finished. It is told if the worker is at fault.
    `rescored` is the number of images that were scored again and that nobody has seen. `populations` says which patients
    were not expected. `thresholds` says that the site's operating point is not used, `candidates` which workers cannot use
    the candidate, and `monitor` what has changed in the model's figures.
    """
    sentences = [] if balanced else ["Files are unaccounted for: run `nightread db check`."]
    running = {status.name for status in statuses}
    sentences += [f"No {name} process is running." for name in NEEDED if name not in running]
    for status in statuses:
        process = f"{status.name} on {status.host}"
        if status.silent:
            sentences.append(f"{process} has sent no heartbeat for {duration(status.heartbeat_age_s)}.")
        elif status.trouble:
            sentences.append(f"{process} is waiting: {status.trouble}.")
    worker_fails = WORKER not in running or any(s.name == WORKER and not s.ok for s in statuses)
    if worker_fails and waited_s is not None:
        sentences.append(f"The oldest image has waited for {duration(waited_s)}.")
    if rescored:
        images = "1 image was" if rescored == 1 else f"{rescored} images were"
        sentences.append(
            f"{images} scored again after an upgrade. Open the page Scored again to see the new results."
        )
    sentences += [*populations, *([thresholds] if thresholds else []), *candidates, *monitor]
    return [*sentences, canary.trouble] if canary and canary.trouble else sentences


def _with_silent_scoring(status: ProcessStatus) -> ProcessStatus:
    """Return the status of a worker with the scoring processes that make no progress as its trouble."""
    silent = [scoring for scoring in status.scoring if scoring.silent]
    if not silent or status.silent:
        return status
    told = " and ".join(
        f"scoring process {scoring.number} (process id {scoring.pid}) has made no progress"
        f" for {duration(scoring.heartbeat_age_s)}"
        for scoring in silent
    )
    return replace(status, trouble=told, ok=False)


def _stalled(status: ProcessStatus) -> ProcessStatus:
    return replace(status, trouble="images are pending, but this worker leases none of them", ok=False)
