"""The end of a claim before its time: its reader leaves the image, or another reader takes it over."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from worker.ledger import actors, audit, review
from worker.ledger.review import ReviewRefused
from worker.ledger.tables import Image


def release(session: Session, image_id: int, *, reader_id: int, until: datetime | None) -> bool:
    """End a reader's claim on an image. Return False if there is none.

    With `until`, only the claim that ends at this time: a page that is slow to leave ends no later claim, which the same
    reader got on another page.
    """
    ended = (
        update(Image)
        .where(Image.id == image_id, Image.claimed_by_id == reader_id)
        .values(claimed_by_id=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )
    if until is not None:
        ended = ended.where(Image.claimed_until == until)
    return bool(cast("CursorResult[object]", session.execute(ended)).rowcount)


def take_over(
    session: Session,
    image_id: int,
    *,
    reader_id: int,
    holder_id: int,
    claim_s: float,
    at: datetime,
    adjudicates: bool = False,
) -> bool:
    """Claim an image that another reader holds. The trail says from whom.

    Args:
        session: of a transaction.
        image_id: the image.
        reader_id: who takes the claim over.
        holder_id: whose claim this is, as the reader saw it.
        claim_s: seconds for which the new claim is valid.
        at: the time.
        adjudicates: whether the reader may end a disagreement.

    Returns:
        Whether somebody lost a claim. A claim that had ended is nobody's loss, and leaves no event.

    Raises ReviewRefused if the reader may not read the image, or a third reader holds it.
    """
    audit.lock(session)
    image = session.get(Image, image_id, with_for_update=True)
    refusal = review.why_not(session, image, reader_id=reader_id, adjudicates=adjudicates)
    if image is None or refusal:
        raise ReviewRefused(refusal)
    holder, until = image.claimed_by_id, image.claimed_until
    is_held = holder not in {None, reader_id} and until is not None and until > at
    if is_held and holder != holder_id:
        raise ReviewRefused("Yet another reader has claimed this image in the meantime.")
    if is_held and until is not None:
        details = {"from_user": holder, "until": until.isoformat(timespec="microseconds")}
        event = audit.Event("claim_taken_over", actors.user(reader_id), f"image:{image.id}", details)
        audit.append(session, [event], at)
    image.claimed_by_id = image.claimed_until = None
    session.flush()
    review.claim(session, image_id, reader_id=reader_id, claim_s=claim_s, at=at, adjudicates=adjudicates)
    return is_held
