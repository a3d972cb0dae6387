"""Did the latest canary come through, and with the score that the same model gave it before?

A canary is a drawn image that is sent the whole way now and then; the same picture in other bytes each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction, Run

# Canaries are received and so they count; in a run of their own they spoil no night's books.
RUN = "canary"
# Far more than what another processor or release rounds otherwise, far less than a wrong model gives.
LARGEST_DIFFERENCE = 0.01
_COMES_THROUGH_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class CanaryResult:
    """What became of the latest canary.

    Attributes:
        image: its id.
        state: of that image.
        received_at: in ISO 8601, UTC.
        p_pneumonia: what the model says of it, None while it has no score.
        expected: what the same model, by its hash, said of the first one; None for its first.
        trouble: what is wrong, as a sentence, or None.
        ok: whether it came through as it should; while it is on its way, None.
    """

    image: int
    state: str
    received_at: str
    p_pneumonia: float | None
    expected: float | None
    trouble: str | None
    ok: bool | None


def latest_canary(session: Session, at: datetime) -> CanaryResult | None:
    """The latest canary's result; None where none was ever sent."""
    image_id = _latest_id(session)
    if image_id is None:
        return None
    image = session.get_one(Image, image_id)
    got, expected = _scores(session, image.id)
    trouble = _trouble(image, got, expected, at)
    on_its_way = trouble is None and image.state in {ImageState.PENDING, ImageState.LEASED}
    when = image.received_at.isoformat(timespec="seconds")
    ok = None if on_its_way else trouble is None
    return CanaryResult(image.id, image.state, when, got, expected, trouble, ok)


def last_sent(session: Session) -> datetime | None:
    """When the latest canary was taken in."""
    image_id = _latest_id(session)
    return None if image_id is None else session.get_one(Image, image_id).received_at


def _latest_id(session: Session) -> int | None:
    """Of the canaries' run, which an index holds."""
    run_id = session.scalar(select(Run.id).where(Run.name == RUN))
    # Of the id as it is, PostgreSQL would go back through all images of all runs until it meets a canary.
    latest = select(func.max(Image.id + 0)).where(Image.run_id == run_id)
    return None if run_id is None else session.scalar(latest)


def _scores(session: Session, image_id: int) -> tuple[float | None, float | None]:
    """Of a canary, and of the first one that the same model scored, if that is another."""
    mine = session.scalars(
        select(Prediction).where(Prediction.image_id == image_id).order_by(Prediction.id.desc()).limit(1)
    ).one_or_none()
    if mine is None:
        return None, None
    first = session.scalar(
        select(Prediction.p_pneumonia)
        .join(Image, Image.id == Prediction.image_id)
        .join(Run, Run.id == Image.run_id)
        .where(Run.name == RUN, Prediction.model_id == mine.model_id, Prediction.id < mine.id)
        .order_by(Prediction.id)
        .limit(1)
    )
    return mine.p_pneumonia, first


def _trouble(image: Image, got: float | None, expected: float | None, at: datetime) -> str | None:
    if image.state in {ImageState.REJECTED, ImageState.QUARANTINED}:
        return f"The canary was turned away: {image.reason}"
    if image.state != ImageState.SCORED:
        late = at - image.received_at > _COMES_THROUGH_WITHIN
        return "The canary has not come through for ten minutes." if late else None
    if got is not None and expected is not None and abs(got - expected) > LARGEST_DIFFERENCE:
        return f"The canary's score is {got:.3f}, where the same model said {expected:.3f}."
    return None
