"""Images that are scored again after an upgrade: they lose their score, and are listed until a person has seen them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session, aliased, joinedload

from worker.ledger import actors, audit
from worker.ledger.states import ImageState, check_transition
from worker.ledger.tables import Image, Prediction, Rescore

# The reason of a rescore is the code of a rejection, or one of these.
CROPPED, UNCHECKED = "cropped", "unchecked"
# The states in which a person can see the result.
FINISHED = (ImageState.SCORED, ImageState.REJECTED, ImageState.QUARANTINED)


def rescore(session: Session, reasons: Mapping[int, str], at: datetime) -> list[int]:
    """Make scored images pending, so that the active model scores them, and return their ids.

    Args:
        session: of a transaction.
        reasons: the reason of each, by the id of its prediction. An image that has a later prediction, or is not
            scored any more, is left alone.
        at: the time by the ledger's clock.
    """
    check_transition(ImageState.SCORED, ImageState.PENDING)
    audit.lock(session)
    later = aliased(Prediction)
    is_current = ~select(later.id).where(later.image_id == Image.id, later.id > Prediction.id).exists()
    current = session.execute(
        select(Prediction.id, Prediction.image_id)
        .join(Image, Image.id == Prediction.image_id)
        .where(Prediction.id.in_(reasons), Image.state == ImageState.SCORED, is_current)
        .order_by(Image.id)
    ).all()
    rows = [
        Rescore(image_id=row.image_id, prediction_id=row.id, reason_code=reasons[row.id], at=at)
        for row in current
    ]
    session.add_all(rows)
    session.flush()
    image_ids = [row.image_id for row in rows]
    _remove_scores(session, image_ids, at)
    audit.append(session, map(_rescored_event, rows), at)
    return image_ids


def unseen_count(session: Session) -> int:
    """Return the number of rescores that nobody has seen. An erased image has nothing to see."""
    return int(session.scalar(_not_erased(select(func.count()).select_from(Rescore))) or 0)


def unseen(session: Session, *, after: int = 0, limit: int) -> Sequence[Rescore]:
    """Return the first rescores above the id `after` that nobody has seen, with image and predictions."""
    return session.scalars(
        _not_erased(select(Rescore))
        .where(Rescore.id > after)
        .order_by(Rescore.id)
        .limit(limit)
        .options(
            joinedload(Rescore.image).joinedload(Image.run),
            joinedload(Rescore.image).selectinload(Image.predictions),
            joinedload(Rescore.prediction),
        )
    ).all()


def mark_seen(session: Session, rescore_ids: Collection[int], *, reader_id: int, at: datetime) -> int:
    """Record that a reader has seen the results of these rescores, and return how many were unseen until now.

    An image that is not scored yet has no result, and stays in the list.
    """
    audit.lock(session)
    rows = session.scalars(
        select(Rescore)
        .join(Image, Image.id == Rescore.image_id)
        .where(Rescore.id.in_(rescore_ids), Rescore.seen_at.is_(None), Image.state.in_(FINISHED))
        .order_by(Rescore.id)
    ).all()
    for row in rows:
        row.seen_by_id, row.seen_at = reader_id, at
    actor = actors.user(reader_id)
    events = (
        audit.Event("rescore_seen", actor, f"image:{row.image_id}", {"rescore": row.id}) for row in rows
    )
    audit.append(session, events, at)
    return len(rows)


def _not_erased(rescore: Select[Any]) -> Select[Any]:
    """Select the rescores that nobody has seen, of images that were not erased."""
    to_see = Rescore.seen_at.is_(None), Image.state != ImageState.ERASED
    return rescore.join(Image, Image.id == Rescore.image_id).where(*to_see)


def _remove_scores(session: Session, image_ids: Sequence[int], at: datetime) -> None:
    """Make images pending, as they were before their score. The caller queues them at once."""
    columns = (
        "verdict",
        "p_pneumonia",
        "population",
        "distance",
        "scored_at",
        "compute_ms",
        "review_state",
        "drawn_rank",
        "operating_point_id",
        "point_group",
        "claimed_by_id",
        "claimed_until",
    )
    session.execute(
        update(Image)
        .where(Image.id.in_(image_ids))
        .values(state=ImageState.PENDING, attempts=0, queued_at=at, **dict.fromkeys(columns))
        .execution_options(synchronize_session=False)
    )


def _rescored_event(row: Rescore) -> audit.Event:
    details = {"rescore": row.id, "prediction": row.prediction_id, "reason": row.reason_code}
    return audit.Event("rescored", actors.PROGRAM, f"image:{row.image_id}", details)
