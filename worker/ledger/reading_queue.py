"""The reading queue: lists of images in an order that the reader chose, in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Subquery, and_, not_, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from worker.ledger.queue_filter import Asked, QueueFilter, asked, read_by
from worker.ledger.queue_order import Cursor, Order, Part, Place, merged
from worker.ledger.queue_search import PARTS, SEARCHED, Total, count_above, walk, whole
from worker.ledger.review import standing_reviews
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Instance, Prediction, Rescore, Review

__all__ = ["Cursor", "Order", "Part", "Place", "QueueFilter"]

PAGE_SIZE = 50
# A reader who goes on to the next image does not wait for more searches than this.
_SEARCHES = 5


@dataclass(frozen=True)
class Neighbours:
    """The ids of the images before and after a place in the queue; None at its ends."""

    before: int | None
    after: int | None


@dataclass(frozen=True)
class QueuePage:
    """A page of the queue.

    Attributes:
        images: the images of this page, in order.
        standing: the standing reading of each image that has one, by the image's id.
        next: the cursor that the next page starts after; None on the last page.
        previous: the cursor that the previous page ends before; None on the first page.
        first: the position of the first image in the list, from 1; None for an empty page, or far down in the list.
        whole: the size of the list.
        searched: the number of images that were looked at, if the page ends for that reason; else None.
    """

    images: Sequence[Image]
    standing: Mapping[int, Review]
    next: Cursor | None
    previous: Cursor | None
    first: int | None
    whole: Total
    searched: int | None = None

    @property
    def total(self) -> int:
        """The number of images in the whole list; at least so many, if `whole` says so."""
        return self.whole.number


def queue(
    session: Session,
    queue_filter: QueueFilter,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int = PAGE_SIZE,
) -> QueuePage:
    """Return the page of a list that starts after a cursor, or that ends before one."""
    question = asked(session, queue_filter)
    if before is not None:
        above = walk(session, question, before, size + 1, upwards=True)
        if len(above.places) > size or above.stopped:
            shown = list(reversed(above.places[:size]))
            last = shown[-1] if shown else before.just_above
            follows = walk(session, question, last, 1)
            has_next = bool(follows.places or follows.stopped)
            start = shown[0] if len(above.places) > size else above.stopped
            return _page(session, question, shown, start, last if has_next else None, above.stopped)
    # Before the second page stands the first one, whole.
    below = walk(session, question, None if before else after, size + 1)
    shown = list(below.places[:size])
    end = shown[-1] if len(below.places) > size else below.stopped
    start = None if before or after is None else shown[0] if shown else after.just_below
    return _page(session, question, shown, start, end, below.stopped)


def most_urgent(
    session: Session, queue_filter: QueueFilter, *, after: Cursor | None = None, limit: int
) -> Subquery:
    """Select the `id` of the first images of a list, for a join: the highest scores, with drawn images among them."""
    question = asked(session, replace(queue_filter, order=Order.SCORE, overdue_from=None))
    (scored,) = (stretch for stretch in question.stretches if stretch.part is Part.SCORED)
    rows = merged(scored.sorting, scored.kinds, after, limit).subquery()
    return select(rows.c.id).subquery()


def count(session: Session, queue_filter: QueueFilter) -> int:
    """Return the number of images in a list; where no tally holds it, at least so many."""
    return whole(session, asked(session, queue_filter)).number


def next_unread(
    session: Session, queue_filter: QueueFilter, *, after: Cursor | Place | None, reader_id: int, at: datetime
) -> int | None:
    """Return the id of the next image that no other reader has claimed; after the last one, start from the top.

    In lists of images that were read, it is one that this reader has not read. A case that has passed its time limit comes before all others.
    """
    question = asked(session, queue_filter)
    free = or_(Image.claimed_until.is_(None), Image.claimed_until < at, Image.claimed_by_id == reader_id)
    if queue_filter.review is not ReviewState.UNREAD:
        # What waits for a second reader or an adjudicator waits for somebody else.
        free = and_(free, not_(read_by(reader_id)))
    cursor = _cursor(after, queue_filter)
    starts: list[tuple[Cursor | None, Sequence[Part]]] = [(None, PARTS)]
    if cursor is not None:
        starts = [(cursor, PARTS), *starts]
        if cursor.part is not Part.OVERDUE:
            starts = [(None, [Part.OVERDUE]), *starts]
    for start, parts in starts:
        image_id = _first_free(session, question, start, free, parts)
        if image_id is not None:
            return image_id
    return None


def neighbours(session: Session, queue_filter: QueueFilter, position: Cursor | Place) -> Neighbours:
    """Return the images next to a place in the queue, whoever has claimed them."""
    question, cursor = asked(session, queue_filter), _cursor(position, queue_filter)
    before, after = (walk(session, question, cursor, 1, upwards=upwards).places for upwards in (True, False))
    return Neighbours(before[0].image_id if before else None, after[0].image_id if after else None)


def image_id_of(session: Session, sha256: str) -> int | None:
    """Return the id of the image with this SHA-256; None if there is none."""
    return session.scalar(select(Image.id).where(Image.sha256 == sha256))


def open_image(session: Session, image_id: int) -> Image | None:
    """Return an image with all that belongs to it: receipts, predictions, readings, instance and so on; or None."""
    return session.scalars(
        select(Image)
        .where(Image.id == image_id)
        .options(
            joinedload(Image.run),
            joinedload(Image.claimed_by),
            joinedload(Image.erasure),
            joinedload(Image.instance).joinedload(Instance.study),
            selectinload(Image.receipts),
            selectinload(Image.predictions).joinedload(Prediction.model),
            selectinload(Image.predictions).joinedload(Prediction.operating_point),
            joinedload(Image.retriaged_by),
            selectinload(Image.reviews).joinedload(Review.user),
            selectinload(Image.rescores).joinedload(Rescore.prediction),
        )
    ).one_or_none()


def _page(
    session: Session,
    question: Asked,
    places: Sequence[Cursor],
    previous: Cursor | None,
    following: Cursor | None,
    stopped: Cursor | None,
) -> QueuePage:
    images = _images(session, [place.image_id for place in places])
    above = count_above(session, question, places[0]) if previous and places else Total(0)
    total = whole(session, question)
    shown = Total(max(total.number, above.number + len(images)), exact=False)
    return QueuePage(
        images=images,
        standing=standing_reviews(session, images),
        next=following,
        previous=previous,
        first=above.number + 1 if above.exact and images else None,
        whole=total if total.exact else shown,
        searched=SEARCHED if stopped else None,
    )


def _images(session: Session, image_ids: Sequence[int]) -> Sequence[Image]:
    """Load images with what a list shows of them, in the order of the ids."""
    rows = session.scalars(
        select(Image)
        .where(Image.id.in_(image_ids))
        .options(joinedload(Image.run), joinedload(Image.claimed_by))
    )
    by_id = {image.id: image for image in rows}
    return [by_id[image_id] for image_id in image_ids if image_id in by_id]


def _first_free(
    session: Session,
    question: Asked,
    start: Cursor | None,
    free: ColumnElement[bool],
    parts: Sequence[Part],
) -> int | None:
    for _ in range(_SEARCHES):
        found = walk(session, question, start, 1, condition=free, parts=parts)
        if found.places:
            return found.places[0].image_id
        if found.stopped is None:
            return None
        start = found.stopped
    return None


def _cursor(position: Cursor | Place | None, queue_filter: QueueFilter) -> Cursor | None:
    if isinstance(position, Place):
        return position.cursor(queue_filter.order, queue_filter.overdue_from)
    return position
