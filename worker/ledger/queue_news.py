"""What came into a list of the reading queue since a page of it was sent, and what stands beside the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from worker.ledger.queue_filter import WITHOUT_SCORE, QueueFilter, asked
from worker.ledger.queue_search import whole
from worker.ledger.runs import run_at
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import Image, ImageTally, Instance, Prediction, Review, Study, User

# A page that says "200 new" says enough.
_MOST = 200


def mark(session: Session) -> int:
    """Return a number that `new_images` takes: the id of the latest prediction."""
    return session.scalar(select(func.max(Prediction.id))) or 0


def new_images(session: Session, wanted: QueueFilter, since: int, shown: int) -> int:
    """Return how many images came into a list: those scored since `mark` returned `since`, up to a limit.

    An image without a score has no such number: of these lists, it is how much they grew beyond `shown` images.
    """
    question = asked(session, wanted)
    if ImageState.SCORED not in wanted.states:
        return max(0, whole(session, question).number - shown)
    latest = select(Prediction.image_id).where(Prediction.id > since).order_by(Prediction.id.desc())
    image_ids = set(session.scalars(latest.limit(_MOST)))
    if not image_ids:
        return 0
    listed = or_(
        *(
            and_(*kind, *([] if stretch.others is None else [stretch.others]))
            for stretch in question.stretches
            for kind in stretch.kinds
        )
    )
    statement = (
        select(func.count())
        .select_from(Image)
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
        .where(Image.id.in_(image_ids), listed)
    )
    return int(session.scalar(statement) or 0)


def without_score(session: Session, run: str | None = None) -> dict[ImageState, int]:
    """Return the number of images in each state without a score that nobody has read, of all runs or of one."""
    nobody_read = ImageTally.state.in_(WITHOUT_SCORE), ImageTally.review_state.in_(["", ReviewState.UNREAD])
    totals = _totals(session, ImageTally.state, nobody_read, run)
    return {state: totals.get(state, 0) for state in WITHOUT_SCORE}


def waiting_for_others(session: Session, run: str | None = None) -> dict[ReviewState, int]:
    """Return the number of images that wait for another reader or an adjudicator, of all runs or of one."""
    waits = (ReviewState.READ_ONCE, ReviewState.SECOND_OPINION, ReviewState.DISAGREED)
    totals = _totals(session, ImageTally.review_state, [ImageTally.review_state.in_(waits)], run)
    return {state: totals.get(state, 0) for state in waits}


def _totals(
    session: Session, kind: Any, conditions: Sequence[ColumnElement[bool]], run: str | None
) -> dict[str, int]:
    """Add the tallies that meet the conditions up, by kind."""
    statement = select(kind, func.sum(ImageTally.total)).where(*conditions).group_by(kind)
    if run is not None:
        found = run_at(session, run)
        statement = statement.where(ImageTally.run_id == (found.id if found else 0))
    return {value: int(total) for value, total in session.execute(statement)}


def readers(session: Session) -> dict[str, str]:
    """Return the names of those who have read an image, by their ids as text."""
    # Not EXISTS, for which PostgreSQL may read all readings.
    reading = select(Review.id).where(Review.user_id == User.id).limit(1).scalar_subquery()
    rows = session.execute(select(User.id, User.name).where(reading.is_not(None)))
    return {str(row.id): row.name for row in sorted(rows, key=lambda row: (row.name.lower(), row.id))}
