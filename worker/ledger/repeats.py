"""A reading that is sent twice is recorded once: a page that got no answer sends its reading again.

What identifies a reading is its content: what the reader says, and for how many milliseconds the picture was open. Two
readings of one reader and one image that agree in all of it are one. A program that does not say `open_ms` has no repeats.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.findings import Action, Seen, Statement
from worker.ledger.tables import Review


def recorded_before(
    session: Session,
    image_id: int,
    *,
    reader_id: int,
    statement: Statement,
    seen: Seen,
    amends: int | None = None,
    why: str = "",
) -> Review | None:
    """Return the reading that was recorded when the same was sent before, also if it was taken back since; else None.

    Waits for another transaction that may be recording it.
    """
    if seen.open_ms is None:
        return None
    audit.lock(session)
    same = select(Review).where(
        Review.image_id == image_id,
        Review.user_id == reader_id,
        Review.action == (Action.READ if amends is None else Action.AMEND),
        Review.finding == statement.finding,
        Review.reason_code == statement.reason,
        Review.note == statement.note,
        Review.other_finding == statement.other_finding,
        Review.why == why,
        Review.open_ms == seen.open_ms,
    )
    if amends is not None:
        same = same.where(Review.supersedes_id == amends)
    if seen.prediction_id is not None:
        same = same.where(Review.prediction_id == (seen.prediction_id or None))
    return session.scalars(same.order_by(Review.id.desc()).limit(1)).one_or_none()
