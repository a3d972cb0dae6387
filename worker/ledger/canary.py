"""The result of the latest canary: whether it was scored, and whether the same model gave the same score before.

A canary is a phantom that Nightread sends through the whole program at intervals: the same picture each
time, in different bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction, Run

# Canaries are part of the file count. A run of their own keeps them out of the file count of each night.
RUN = CANARY_RUN
# Much larger than the rounding differences between processors or releases, much smaller than the error of a
# wrong model.
LARGEST_DIFFERENCE = 0.01
_SCORED_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class CanaryResult:
    """The result of the latest canary.

    Attributes:
        image: id of its image.
        state: state of its image.
        received_at: when it was accepted, in ISO 8601, UTC.
        p_pneumonia: its score; None while it has none.
        expected: the score that the same model gave to its first canary; None for that first canary.
        trouble: one sentence that says what is wrong; None if nothing is.
        ok: whether the canary was scored as expected; None while it is pending or being scored.
    """

    image: int
    state: str
    received_at: str
    p_pneumonia: float | None
    expected: float | None
    trouble: str | None
    ok: bool | None


def latest_canary(session: Session, at: datetime) -> CanaryResult | None:
    """Return the result of the latest canary; None if no canary was ever sent."""
    image_id = _latest_id(session)
    if image_id is None:
        return None
    image = session.get_one(Image, image_id)
    score, expected = _scores(session, image.id)
    trouble = _trouble(image, score, expected, at)
    in_progress = trouble is None and image.state in {ImageState.PENDING, ImageState.LEASED}
    received_at = image.received_at.isoformat(timespec="seconds")
    ok = None if in_progress else trouble is None
    return CanaryResult(image.id, image.state, received_at, score, expected, trouble, ok)


def last_sent(session: Session) -> datetime | None:
    """Return when the latest canary was accepted; None if no canary was ever sent."""
    image_id = _latest_id(session)
    return None if image_id is None else session.get_one(Image, image_id).received_at


def _latest_id(session: Session) -> int | None:
    """Return the id of the latest image in the run of the canaries, which an index finds."""
    run_id = session.scalar(select(Run.id).where(Run.name == RUN))
    # `+ 0` keeps PostgreSQL from walking back through the images of all runs until it meets a canary.
    latest = select(func.max(Image.id + 0)).where(Image.run_id == run_id)
    return None if run_id is None else session.scalar(latest)


def _scores(session: Session, image_id: int) -> tuple[float | None, float | None]:
    """Return the score of a canary, and the score of the first canary of the same model; None for a missing one."""
    prediction = session.scalars(
        select(Prediction).where(Prediction.image_id == image_id).order_by(Prediction.id.desc()).limit(1)
    ).one_or_none()
    if prediction is None:
        return None, None
    first = session.scalar(
        select(Prediction.p_pneumonia)
        .join(Image, Image.id == Prediction.image_id)
        .join(Run, Run.id == Image.run_id)
        .where(Run.name == RUN, Prediction.model_id == prediction.model_id, Prediction.id < prediction.id)
        .order_by(Prediction.id)
        .limit(1)
    )
    return prediction.p_pneumonia, first


def _trouble(image: Image, score: float | None, expected: float | None, at: datetime) -> str | None:
    if image.state in {ImageState.REJECTED, ImageState.QUARANTINED}:
        return f"The canary was {image.state}: {image.reason}"
    if image.state != ImageState.SCORED:
        late = at - image.received_at > _SCORED_WITHIN
        return "The canary was not scored within ten minutes." if late else None
    if score is not None and expected is not None and abs(score - expected) > LARGEST_DIFFERENCE:
        return f"The canary has the score {score:.3f}. The first canary of the same model had the score {expected:.3f}."
    return None
