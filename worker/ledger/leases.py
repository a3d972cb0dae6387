"""Leases: which worker has which image, until when and on which attempt; and which images are pending."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, false, or_, select, update
from sqlalchemy.orm import Session

from worker.errors import LASTING
from worker.ledger import actors, audit
from worker.ledger.runs import CANARY_RUN
from worker.ledger.seals import new_salt, seal
from worker.ledger.states import IllegalTransition, ImageState, Lane, after_failure, check_transition
from worker.ledger.tables import Image, Instance, Run, Study

# Ids in one IN (...): below the limits of SQLite and PostgreSQL on the number of parameters.
_IDS_PER_STATEMENT = 5_000
# A lease that ends later than this many lease times from now began before the clock was set back.
_LEASES_AHEAD = 2.0

# Nothing has to be better before these images are tried again. All others count as queued, so that they wait.
_PUBLISHED_AT_ONCE = frozenset({"lease_expired", "no_time", "stopping"})


@dataclass(frozen=True)
class LeasedImage:
    """An image that the caller may score until its lease ends.

    Attributes:
        id: of the image.
        sha256: of its bytes.
        age_years: age of the patient; None: not known.
        canary: whether Nightread sent it to test itself.
    """

    id: int
    sha256: str
    age_years: float | None = None
    canary: bool = False


@dataclass(frozen=True)
class PendingImage:
    """A pending image that is in no queue, and the number of attempts so far."""

    id: int
    lane: Lane
    attempts: int


def lease(
    session: Session, image_ids: Sequence[int], *, owner: str, lease_s: float, at: datetime
) -> list[LeasedImage]:
    """Lease the pending images among `image_ids`. The other images are leased to another worker or done."""
    check_transition(ImageState.PENDING, ImageState.LEASED)
    audit.lock(session)
    pending = session.execute(
        select(Image.id, Image.sha256, Study.age_years, (Run.name == CANARY_RUN).label("canary"))
        .join(Run, Run.id == Image.run_id)
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
        .where(Image.id.in_(image_ids), Image.state == ImageState.PENDING)
        .order_by(Image.id)
        # Waits for a publisher that is marking these images as queued; both lock rows in the order of ids.
        .with_for_update(of=Image)
    ).all()
    session.execute(
        update(Image)
        .where(Image.id.in_([row.id for row in pending]))
        .values(
            state=ImageState.LEASED,
            lease_owner=owner,
            lease_until=at + timedelta(seconds=lease_s),
            attempts=Image.attempts + 1,
        )
        .execution_options(synchronize_session=False)
    )
    return [LeasedImage(row.id, row.sha256, row.age_years, row.canary) for row in pending]


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
    """Make leased images pending after a transient failure; quarantine images that have no attempts left."""
    audit.lock(session)
    leased = _leased_by(session, owner, image_ids)
    _end_leases(session, leased, code=code, reason=reason, max_attempts=max_attempts, at=at)


def hand_back(session: Session, image_ids: Sequence[int], *, owner: str, code: str, at: datetime) -> None:
    """Make leased images pending without counting the attempt: none was made, or its failure was not about them.

    `code` says why: `store_away`, `no_time` (the worker was too slow to begin them), `stopping` (it was asked to stop).
    """
    audit.lock(session)
    leased = _leased_by(session, owner, image_ids)
    for image in leased:
        image.attempts -= 1
    _end_leases(session, leased, code=code, reason="", max_attempts=None, at=at)


def expire(
    session: Session, *, lease_s: float, max_attempts: int, at: datetime, limit: int = _IDS_PER_STATEMENT
) -> int:
    """End the leases that have expired because their worker died or hung, and return their number.

    The images are then pending, or quarantined if they have no attempts left. A lease also counts as
    expired if it ends much later than `lease_s` from now: it began before the clock was set back.
    """
    audit.lock(session)
    expired = session.scalars(
        select(Image).where(_expired(lease_s, at)).order_by(Image.id).limit(limit)
    ).all()
    reason = "The worker stopped or took too long while it scored this image."
    _end_leases(session, expired, code="lease_expired", reason=reason, max_attempts=max_attempts, at=at)
    return len(expired)


def any_expired(session: Session, *, lease_s: float, at: datetime) -> bool:
    """Return whether a lease has expired; call it before `expire`, which takes the write lock."""
    return session.scalar(select(Image.id).where(_expired(lease_s, at)).limit(1)) is not None


def retry_may_help(image: Image) -> bool:
    """Return whether a retry of a rejected or quarantined image can end otherwise with this version of Nightread."""
    return image.state == ImageState.QUARANTINED or image.reason_code not in LASTING


def retry(session: Session, image_id: int, *, who: str, why: str, at: datetime) -> Lane:
    """Put a rejected or quarantined image back to pending because a person asks for it, and return its lane.

    `who` is the actor of the event, never a name: see `audit.Event`.

    Raises LookupError if there is no such image, IllegalTransition if it is in any other state,
    ValueError if `why` is empty.
    """
    if not why.strip():
        raise ValueError("A retry needs a reason.")
    audit.lock(session)
    image = session.get(Image, image_id)
    if image is None:
        raise LookupError(f"There is no image {image_id}.")
    before = ImageState(image.state)
    if before not in {ImageState.REJECTED, ImageState.QUARANTINED}:
        raise IllegalTransition(
            f"Image {image_id} is {before}. Only rejected and quarantined images can be retried."
        )
    if image.bytes_removed_at is not None:
        raise IllegalTransition(f"The bytes of image {image_id} are not kept any more. Send its file again.")
    check_transition(before, ImageState.PENDING)
    image.state, image.attempts, image.queued_at = ImageState.PENDING, 0, None
    # A reading without a score stays in the history of the image.
    image.review_state = image.drawn_rank = image.claimed_by_id = image.claimed_until = None
    image.retry_reason, image.salt = why, new_salt()
    sealed = seal(image.salt, why)
    details = {"from": before.value, "was": image.reason_code, "retry_reason_seal": sealed}
    image.reason_code = image.reason = None
    audit.append(session, [audit.Event("retried", who, f"image:{image_id}", details)], at)
    return Lane(image.lane)


def any_unfinished(session: Session) -> bool:
    """Return whether an image is pending or being scored."""
    unfinished = Image.state.in_((ImageState.PENDING, ImageState.LEASED))
    return session.scalar(select(Image.id).where(unfinished).limit(1)) is not None


def any_leased(session: Session) -> bool:
    """Return whether an image is being scored. The sweeper ends leases that have expired."""
    return session.scalar(select(Image.id).where(Image.state == ImageState.LEASED).limit(1)) is not None


def pending_images(
    session: Session, *, lost_in: Collection[Lane], requeue_after_s: float, at: datetime, limit: int
) -> list[PendingImage]:
    """Return pending images that are in no queue: the urgent lane first, in each lane the oldest first.

    Args:
        session: of a snapshot.
        lost_in: lanes whose queue may have been lost. From these, images that were queued longer than
            `requeue_after_s` ago count too, and images queued in the future, before the clock was set back.
        requeue_after_s: seconds.
        at: the time by the ledger's clock.
        limit: number of images at most.
    """
    long_ago = Image.queued_at < at - timedelta(seconds=requeue_after_s)
    pending: list[PendingImage] = []
    # A lane is a range of an index, in the order of ids: only the first rows are read, however many are pending.
    for lane in Lane:
        lost = or_(long_ago, Image.queued_at > at) if lane in lost_in else false()
        rows = session.execute(
            select(Image.id, Image.attempts)
            .where(
                Image.state == ImageState.PENDING, Image.lane == lane, or_(Image.queued_at.is_(None), lost)
            )
            .order_by(Image.id)
            .limit(limit - len(pending))
        )
        pending += [PendingImage(row.id, lane, row.attempts) for row in rows]
    return pending


def mark_queued(session: Session, image_ids: Sequence[int], at: datetime | None) -> None:
    """Record that these images have been in a queue since `at`, or are in no queue if `at` is None.

    If this record is lost, the images are queued twice, which is harmless.
    """
    for start in range(0, len(image_ids), _IDS_PER_STATEMENT):
        still_pending = (
            select(Image.id)
            .where(
                Image.id.in_(image_ids[start : start + _IDS_PER_STATEMENT]), Image.state == ImageState.PENDING
            )
            .order_by(Image.id)
            .with_for_update()
        )
        session.execute(
            update(Image)
            .where(Image.id.in_(still_pending))
            .values(queued_at=at)
            .execution_options(synchronize_session=False)
        )


def _expired(lease_s: float, at: datetime) -> ColumnElement[bool]:
    latest_end = at + timedelta(seconds=_LEASES_AHEAD * lease_s)
    expired = or_(Image.lease_until < at, Image.lease_until > latest_end)
    return and_(Image.state == ImageState.LEASED, expired)


def _leased_by(session: Session, owner: str, image_ids: Sequence[int]) -> list[Image]:
    leased = Image.id.in_(image_ids), Image.state == ImageState.LEASED, Image.lease_owner == owner
    return list(session.scalars(select(Image).where(*leased).order_by(Image.id)))


def _end_leases(
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
            image.queued_at = None if code in _PUBLISHED_AT_ONCE else at
        kind = "quarantined" if after is ImageState.QUARANTINED else "returned"
        details: dict[str, object] = {"attempts": image.attempts, "reason": code}
        if image.reason is not None:
            details["reason_sha256"] = audit.digest(image.reason)
        events.append(audit.Event(kind, actors.PROGRAM, f"image:{image.id}", details))
    audit.append(session, events, at)
