"""The status document, which the command, the API and every page show."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger import canary, models, models_overview, monitoring, populations, receiver_tallies, rescores
from worker.ledger.file_counts import file_counts
from worker.ledger.process_health import oldest_pending, oldest_unfinished, process_health, troubles
from worker.ledger.tables import Prediction

_RATE_WINDOW_S = 60.0
_OF_CHANGE = ("dimension", "group", "figure", "since", "found", "sentence", "sure")


def status_document(session: Session, at: datetime) -> dict[str, Any]:
    """Return the document of `nightread status --json` and of the API: file count, rate, processes, canary.

    `eta_s` is 0 when no image is pending or being scored, and null when the rate is 0. `oldest_waiting_s`
    is the time since the oldest pending image arrived, or lost its score to be scored again; null when none is
    pending. `rescored_unseen` is the number of images that were scored again after an upgrade and that nobody has
    seen. `receiver` says how often the receiver did or refused what (`worker.ledger.receiver_tallies`). `monitor` has what changed in the figures of the model and needs attention
    (`worker.monitoring`). `troubles` has a sentence for each problem that a person should look into.
    """
    counts, images_per_s, statuses = file_counts(session), rate(session, at), process_health(session, at)
    changes = monitoring.attention(session)
    latest_canary, rescored = canary.latest_canary(session, at), rescores.unseen_count(session)
    unfinished = counts.pending + counts.leased
    return {
        **asdict(counts),
        "images_per_s": round(images_per_s, 2),
        "eta_s": round(unfinished / images_per_s, 1) if images_per_s else None if unfinished else 0,
        "oldest_waiting_s": _seconds_since(oldest_pending(session), at),
        "processes": [asdict(status) for status in statuses],
        "canary": asdict(latest_canary) if latest_canary else None,
        "rescored_unseen": rescored,
        "receiver": {kind.value: total for kind, total in receiver_tallies.totals(session).items()},
        "monitor": [{name: change[name] for name in _OF_CHANGE} for change in changes],
        "troubles": troubles(
            statuses,
            balanced=counts.balanced,
            canary=latest_canary,
            waited_s=_seconds_since(oldest_unfinished(session), at),
            rescored=rescored,
            populations=populations.unexpected(session),
            thresholds=models.unused_point(session),
            candidates=models_overview.troubles(session, at),
            monitor=[f"Monitor: {change['sentence']}" for change in changes],
        ),
    }


def rate(session: Session, at: datetime) -> float:
    """Return the images scored a second in the last minute, or since the first of these if that is shorter."""
    since = at - timedelta(seconds=_RATE_WINDOW_S)
    recent = Prediction.finished_at >= since
    count = session.scalar(select(func.count()).select_from(Prediction).where(recent))
    first = session.scalar(
        select(Prediction.started_at).where(recent).order_by(Prediction.finished_at).limit(1)
    )
    if not count or first is None:
        return 0.0
    return count / min(_RATE_WINDOW_S, max(1.0, (at - first).total_seconds()))


def _seconds_since(arrival: datetime | None, at: datetime) -> float | None:
    return None if arrival is None else round(max(0.0, (at - arrival).total_seconds()), 1)
