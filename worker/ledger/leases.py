"""Who works on what, until when, for the how-many-eth time; and what waits to be worked on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, false, or_, select, update
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.states import IllegalTransition, ImageState, Lane, after_failure, check_transition
from worker.ledger.tables import Image

# A page of ids in one IN (...): below SQLite's and PostgreSQL's limits on parameters.
_MANY = 5_000
# No lease ends later than so many of them from now, unless the clock was set back since it began.
_LEASES_AHEAD = 2.0


@dataclass(frozen=True)
class LeasedImage:
    """An image that the caller may work on until its lease ends."""

    id: int
    sha256: str
    attempts: int


@dataclass(frozen=True)
class PendingImage:
    """A pending image that stands in no queue, and how often it was tried."""

    id: int
    lane: Lane
    attempts: int


def lease(
    session: Session, image_ids: Sequence[int], *, owner: str, lease_s: float, at: datetime
) -> list[LeasedImage]:
    """Lease those of the images that are pending; the others are someone else's or done."""
    check_transition(ImageState.PENDING, ImageState.LEASED)
    audit.lock(session)
    free = session.execute(
        select(Image.id, Image.sha256, Image.attempts)
        .where(Image.id.in_(image_ids), Image.state == ImageState.PENDING)
        .order_by(Image.id)
        # Waits for a publisher that is just noting these images as queued; both lock in the order of ids.
        .with_for_update()
    ).all()
    session.execute(
        update(Image)
        .where(Image.id.in_([row.id for row in free]))
        .values(
            state=ImageState.LEASED,
            lease_owner=owner,
            lease_until=at + timedelta(seconds=lease_s),
            attempts=Image.attempts + 1,
        )
        .execution_options(synchronize_session=False)
    )
    return [LeasedImage(row.id, row.sha256, row.attempts + 1) for row in free]


def release(
    session: Session,
    image_ids: Sequence[int],
    *,
    owner: str,
    code: str,
    reason: str,
    max_attempts: int,
    at: datetime,
) -> None:
    """Give leased images back after a transient failure; quarantine those out of attempts."""
    audit.lock(session)
    mine = _leased_by(session, owner, image_ids)
    _give_back(session, mine, code=code, reason=reason, max_attempts=max_attempts, at=at)


def hand_back(session: Session, image_ids: Sequence[int], *, owner: str, code: str, at: datetime) -> None:
    """Give leased images back for a reason that is none of theirs: the attempt does not count."""
    audit.lock(session)
    mine = _leased_by(session, owner, image_ids)
    for image in mine:
        image.attempts -= 1
    _give_back(session, mine, code=code, reason="", max_attempts=None, at=at)


def expire(session: Session, *, lease_s: float, max_attempts: int, at: datetime, limit: int = _MANY) -> int:
    """Give back the images whose lease ran out, because their worker died or hung; how many.

    `lease_s` is how long a lease is: one that ends much later than that from now is of a time
    before the clock was set back, and has run out too.
    """
    audit.lock(session)
    late = session.scalars(select(Image).where(_ran_out(lease_s, at)).order_by(Image.id).limit(limit)).all()
    reason = "The worker stopped in the middle of this image, or took too long."
    _give_back(session, late, code="lease_expired", reason=reason, max_attempts=max_attempts, at=at)
    return len(late)


def any_expired(session: Session, *, lease_s: float, at: datetime) -> bool:
    """Whether a lease ran out: asked before `expire`, which takes the write lock."""
    return session.scalar(select(Image.id).where(_ran_out(lease_s, at)).limit(1)) is not None


def retry(session: Session, image_id: int, *, who: str, why: str, at: datetime) -> Lane:
    """Put a rejected or quarantined image back to pending, as a person asks, with a reason.

    Raises LookupError when there is no such image, IllegalTransition when it is in any other
    state, ValueError when no reason is given.
    """
    if not why.strip():
        raise ValueError("a retry needs a reason")
    audit.lock(session)
    image = session.get(Image, image_id)
    if image is None:
        raise LookupError(f"there is no image {image_id}")
    before = ImageState(image.state)
    if before not in {ImageState.REJECTED, ImageState.QUARANTINED}:
        raise IllegalTransition(f"image {image_id} is {before}: only what was turned away can be retried")
    check_transition(before, ImageState.PENDING)
    image.state, image.attempts, image.queued_at = ImageState.PENDING, 0, None
    image.retry_reason = why
    particulars = {"from": before.value, "was": image.reason_code, "why_sha256": audit.digest(why)}
    image.reason_code = image.reason = None
    audit.append(session, [audit.Event("retried", who, f"image:{image_id}", particulars)], at)
    return Lane(image.lane)


def pending_images(
    session: Session, *, lost_in: Collection[Lane], requeue_after_s: float, at: datetime, limit: int
) -> list[PendingImage]:
    """Pending images in no queue, the urgent ones first, the oldest first.

    Those too that were queued in one of the lanes `lost_in`, `requeue_after_s` ago or, by a clock
    that was set back since, at a time that has not come yet.
    """
    long_ago = Image.queued_at < at - timedelta(seconds=requeue_after_s)
    found: list[PendingImage] = []
    # A lane is a range of an index, in the order of ids: however many wait, only the first are read.
    for lane in Lane:
        lost = or_(long_ago, Image.queued_at > at) if lane in lost_in else false()
        rows = session.execute(
            select(Image.id, Image.attempts)
            .where(
                Image.state == ImageState.PENDING, Image.lane == lane, or_(Image.queued_at.is_(None), lost)
            )
            .order_by(Image.id)
            .limit(limit - len(found))
        )
        found += [PendingImage(row.id, lane, row.attempts) for row in rows]
    return found


def mark_queued(session: Session, image_ids: Sequence[int], at: datetime | None) -> None:
    """Note that these images stand in a queue since `at`, or in none. Losing it queues them twice."""
    for start in range(0, len(image_ids), _MANY):
        still_pending = (
            select(Image.id)
            .where(Image.id.in_(image_ids[start : start + _MANY]), Image.state == ImageState.PENDING)
            .order_by(Image.id)
            .with_for_update()
        )
        session.execute(
            update(Image)
            .where(Image.id.in_(still_pending))
            .values(queued_at=at)
            .execution_options(synchronize_session=False)
        )


def _ran_out(lease_s: float, at: datetime) -> ColumnElement[bool]:
    no_lease_lasts_until = at + timedelta(seconds=_LEASES_AHEAD * lease_s)
    over = or_(Image.lease_until < at, Image.lease_until > no_lease_lasts_until)
    return and_(Image.state == ImageState.LEASED, over)


def _leased_by(session: Session, owner: str, image_ids: Sequence[int]) -> list[Image]:
    mine = Image.id.in_(image_ids), Image.state == ImageState.LEASED, Image.lease_owner == owner
    return list(session.scalars(select(Image).where(*mine).order_by(Image.id)))


def _give_back(
    session: Session,
    images: Sequence[Image],
    *,
    code: str,
    reason: str,
    max_attempts: int | None,
    at: datetime,
) -> None:
    events = []
    for image in images:
        after = ImageState.PENDING if max_attempts is None else after_failure(image.attempts, max_attempts)
        check_transition(ImageState(image.state), after)
        image.state, image.lease_owner, image.lease_until = after, None, None
        if after is ImageState.QUARANTINED:
            image.reason_code, image.reason = code, f"{reason} Tried {image.attempts} times."
        else:
            image.queued_at = None if code == "lease_expired" else at
        kind = "quarantined" if after is ImageState.QUARANTINED else "returned"
        particulars = {"attempts": image.attempts, "reason": code}
        events.append(audit.Event(kind, "nightread", f"image:{image.id}", particulars))
    audit.append(session, events, at)
