"""The reading queue: lists of scored images, the highest score first, in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, func, or_, select, union_all
from sqlalchemy.orm import Session, joinedload, selectinload

from worker.ledger.review import NEEDS_READING, standing_reviews
from worker.ledger.runs import run_at
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, ImageTally, Instance, Prediction, Rescore, Review

PAGE_SIZE = 50
_VERDICTS = (*NEEDS_READING, "clear")


@dataclass(frozen=True)
class QueueFilter:
    """A filter of scored images; an empty field does not restrict the list. `run` as in `worker.ledger.runs.run_at`."""

    verdicts: Sequence[str] = NEEDS_READING
    review: ReviewState | None = ReviewState.UNREAD
    run: str | None = None


@dataclass(frozen=True)
class Cursor:
    """The end of a page: the next page starts after this score and id (keyset paging)."""

    p_pneumonia: float
    image_id: int

    def __str__(self) -> str:
        """Return the cursor as text for a URL; `repr` keeps every bit of the float."""
        return f"{self.p_pneumonia!r}_{self.image_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse the text of a cursor. Raises ValueError if it is not one."""
        p_pneumonia, image_id = text.split("_")
        return cls(float(p_pneumonia), int(image_id))


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
        next: the cursor of the next page; None on the last page.
        total: number of images in the whole list.
    """

    images: Sequence[Image]
    standing: Mapping[int, Review]
    next: Cursor | None
    total: int


def queue(
    session: Session, queue_filter: QueueFilter, *, after: Cursor | None = None, size: int = PAGE_SIZE
) -> QueuePage:
    """Return a page of scored images, the highest score first."""
    urgent = most_urgent(session, queue_filter, after=after, limit=size + 1)
    images = session.scalars(
        select(Image)
        .join(urgent, Image.id == urgent.c.id)
        .order_by(urgent.c.p_pneumonia.desc(), urgent.c.id)
        .options(
            joinedload(Image.run),
            joinedload(Image.claimed_by),
        )
    ).all()
    page = images[:size]
    has_next = len(images) > size and page[-1].p_pneumonia is not None
    return QueuePage(
        images=page,
        standing=standing_reviews(session, page),
        next=Cursor(page[-1].p_pneumonia or 0.0, page[-1].id) if has_next else None,
        total=count(session, queue_filter),
    )


def most_urgent(
    session: Session, queue_filter: QueueFilter, *, after: Cursor | None = None, limit: int
) -> Subquery:
    """Select `id` and `p_pneumonia` of the first images of a list, the highest score first, for a join."""
    return _first(session, queue_filter, _below(after), limit).subquery()


def count(session: Session, queue_filter: QueueFilter) -> int:
    """Return the number of scored images in a list, from the tallies."""
    tallied = select(func.sum(ImageTally.total)).where(
        ImageTally.review_state.in_([queue_filter.review] if queue_filter.review else list(ReviewState)),
        ImageTally.verdict.in_(queue_filter.verdicts or _VERDICTS),
    )
    if queue_filter.run is not None:
        tallied = tallied.where(ImageTally.run_id == _run_id(session, queue_filter.run))
    return int(session.scalar(tallied) or 0)


def next_unread(
    session: Session, queue_filter: QueueFilter, *, after: Cursor | None, reader_id: int, at: datetime
) -> int | None:
    """Return the id of the next image that no other reader has claimed; after the last one, start from the top."""
    free = or_(Image.claimed_until.is_(None), Image.claimed_until < at, Image.claimed_by_id == reader_id)
    image_id: int | None = session.scalar(_first(session, queue_filter, [free, *_below(after)], 1))
    if image_id is not None or after is None:
        return image_id
    first_id: int | None = session.scalar(_first(session, queue_filter, [free], 1))
    return first_id


def neighbours(session: Session, queue_filter: QueueFilter, position: Cursor) -> Neighbours:
    """Return the images next to a place in the queue, whoever has claimed them."""
    above = [
        Image.p_pneumonia >= position.p_pneumonia,
        or_(Image.p_pneumonia > position.p_pneumonia, Image.id < position.image_id),
    ]
    return Neighbours(
        session.scalar(_first(session, queue_filter, above, 1, upwards=True)),
        session.scalar(_first(session, queue_filter, _below(position), 1)),
    )


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
            selectinload(Image.reviews).joinedload(Review.user),
            selectinload(Image.rescores).joinedload(Rescore.prediction),
        )
    ).one_or_none()


def _first(
    session: Session,
    queue_filter: QueueFilter,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    upwards: bool = False,
) -> Select[Any]:
    """Select the first ids and scores of a list, the highest score first, or upwards from its end.

    Each verdict and reading state is a range of an index in this order. The first few rows of each range are
    taken and then sorted, so the cost does not depend on the number of images.
    """
    run_condition = [] if queue_filter.run is None else [Image.run_id == _run_id(session, queue_filter.run)]
    kinds = product(
        [queue_filter.review] if queue_filter.review else ReviewState, queue_filter.verdicts or _VERDICTS
    )
    ranges = [
        select(Image.id, Image.p_pneumonia)
        .where(Image.review_state == review, Image.verdict == verdict, *run_condition, *conditions)
        .order_by(*_order(Image, upwards=upwards))
        .limit(limit)
        .subquery()
        for review, verdict in kinds
    ]
    rows = union_all(*(select(part) for part in ranges)).subquery()
    order = _order(rows.c, upwards=upwards)
    return select(rows.c.id, rows.c.p_pneumonia).order_by(*order).limit(limit)


def _order(columns: Any, *, upwards: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (
        (columns.p_pneumonia.asc(), columns.id.desc())
        if upwards
        else (columns.p_pneumonia.desc(), columns.id.asc())
    )


def _run_id(session: Session, reference: str) -> int:
    """Return the id of a run; 0, which no run has, if there is none."""
    run = run_at(session, reference)
    return run.id if run else 0


def _below(after: Cursor | None) -> list[ColumnElement[bool]]:
    if after is None:
        return []
    # The first condition follows from the second. It lets the database start at this place in the index.
    return [
        Image.p_pneumonia <= after.p_pneumonia,
        or_(Image.p_pneumonia < after.p_pneumonia, Image.id > after.image_id),
    ]
