"""Readings: claims, decisions, undo.

The row of a reading is never changed. Undo adds a row that names the reading that it takes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased, joinedload

from worker.ledger import actors, audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import Image, Prediction, Review

NEEDS_READING = ("flagged", "uncertain")


class Action(StrEnum):
    """A reader's action on a verdict."""

    CONFIRM = "confirm"
    OVERRIDE = "override"
    UNDO = "undo"


class Finding(StrEnum):
    """The finding of a reading."""

    SIGNS = "signs_of_pneumonia"
    NO_SIGNS = "no_signs"


class ReviewRefused(Exception):  # noqa: N818 - an outcome with a sentence for the reader
    """The reading cannot be recorded now; the message says why."""


def finding_of(verdict: str, action: Action) -> Finding:
    """Return the finding of confirming or overriding a verdict. An uncertain verdict counts as a flagged one."""
    agrees_with_signs = (verdict in NEEDS_READING) == (action is Action.CONFIRM)
    return Finding.SIGNS if agrees_with_signs else Finding.NO_SIGNS


def claim(session: Session, image_id: int, *, reader_id: int, claim_s: float, at: datetime) -> bool:
    """Claim an image for a reader for `claim_s` seconds and release the reader's other claims.

    Returns False if the image does not need a reading or if another reader has claimed it.
    """
    # A reader looks at one image at a time: a skipped image is free for others at once.
    session.execute(
        update(Image)
        .where(Image.claimed_by_id == reader_id, Image.id != image_id)
        .values(claimed_by_id=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )
    image = session.scalars(select(Image).where(Image.id == image_id).with_for_update()).one_or_none()
    if image is None or image.review_state != ReviewState.UNREAD:
        return False
    if image.claimed_by_id not in {None, reader_id} and image.claimed_until and image.claimed_until > at:
        return False
    image.claimed_by_id, image.claimed_until = reader_id, at + timedelta(seconds=claim_s)
    return True


def decide(
    session: Session,
    image_id: int,
    *,
    reader_id: int,
    action: Action,
    note: str,
    at: datetime,
    seen_prediction_id: int | None = None,
) -> Review:
    """Record a reading that confirms or overrides the verdict.

    `seen_prediction_id` is the prediction that the reader saw; None: not known.

    Raises ReviewRefused if the reader cannot read this image now, ValueError if `action` is undo.
    """
    if action is Action.UNDO:
        raise ValueError("an undo belongs to no image; call `undo`")
    audit.lock(session)
    image = session.get(Image, image_id)
    if image is None or image.state != ImageState.SCORED or image.verdict is None:
        raise ReviewRefused("This image has not been scored.")
    if image.review_state != ReviewState.UNREAD:
        raise ReviewRefused("This image has already been read.")
    if image.claimed_by_id not in {None, reader_id} and image.claimed_until and image.claimed_until > at:
        raise ReviewRefused("Another reader has claimed this image.")
    prediction_id = session.scalar(select(func.max(Prediction.id)).where(Prediction.image_id == image_id))
    if seen_prediction_id not in {None, prediction_id}:
        raise ReviewRefused("This image was scored again in the meantime. Look at its new score first.")
    salt = new_salt()
    reading = Review(
        image_id=image_id,
        prediction_id=prediction_id,
        user_id=reader_id,
        action=action,
        finding=finding_of(image.verdict, action),
        note=note,
        salt=salt,
        at=at,
    )
    image.review_state, image.claimed_by_id, image.claimed_until = ReviewState.READ, None, None
    session.add(reading)
    session.flush()
    details = {
        "review": reading.id,
        "prediction": prediction_id,
        "action": action.value,
        "finding": reading.finding,
        "note_seal": seal(salt, note),
    }
    audit.append(session, [audit.Event("read", actors.user(reader_id), f"image:{image_id}", details)], at)
    return reading


def undo(session: Session, *, reader_id: int, at: datetime) -> int:
    """Take back the reader's last reading and return the id of its image, which is unread again.

    Raises ReviewRefused if there is nothing to undo.
    """
    audit.lock(session)
    later = aliased(Review)
    taken_back = select(later.id).where(later.undoes_id == Review.id).exists()
    last = session.scalars(
        select(Review)
        .where(Review.user_id == reader_id, Review.action != Action.UNDO, ~taken_back)
        .order_by(Review.id.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        raise ReviewRefused("There is nothing to undo.")
    image = session.get_one(Image, last.image_id)
    if last is not standing_reviews(session, [image]).get(image.id):
        raise ReviewRefused("Your last reading is not in force any more: its image was scored again.")
    reading = Review(
        image_id=last.image_id,
        prediction_id=last.prediction_id,
        user_id=reader_id,
        action=Action.UNDO,
        undoes_id=last.id,
        note="",
        at=at,
    )
    session.add(reading)
    image.review_state = ReviewState.UNREAD
    session.flush()
    details = {"review": reading.id, "undoes": last.id}
    audit.append(
        session, [audit.Event("read_undone", actors.user(reader_id), f"image:{image.id}", details)], at
    )
    return image.id


def standing_reviews(session: Session, images: Iterable[Image]) -> dict[int, Review]:
    """Return the standing reading of each image that was read, by the image's id.

    The standing reading is the last one: undo makes the image unread until another reading is recorded. Only
    this row is loaded, however many readings an image has; see `docs/reliability.md`, "What a page loads".
    """
    read = [image.id for image in images if image.review_state == ReviewState.READ]
    last = select(func.max(Review.id)).where(Review.image_id.in_(read)).group_by(Review.image_id)
    readings = select(Review).where(Review.id.in_(last)).options(joinedload(Review.user))
    return {reading.image_id: reading for reading in session.scalars(readings)} if read else {}
