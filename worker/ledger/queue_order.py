"""The orders of the reading queue, and places in them.

A list consists of parts, one after the other: cases over their time limit, scored images, images without a score.
Within a part, each kind of image (a reading state and a verdict, or a state) is a range of an index. The first few rows
of each range are taken and then merged, so the cost does not depend on the number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, literal, or_, select, union_all

from worker.ledger.states import is_to_read
from worker.ledger.tables import Image

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The largest key of a time: the last microsecond of the year 2254, which a float holds exactly.
LATEST = float((datetime(2255, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - 1)
# Where `threshold + distance` is rounded, the range of the index begins this much earlier. An exact condition follows.
_ROUNDING = 1e-9


class Order(StrEnum):
    """The order of the scored images of a list."""

    SCORE = "score"
    CLOSEST = "closest"
    OLDEST = "oldest"


class Part(StrEnum):
    """A part of a list, by the letter that begins a cursor in it. The parts follow each other in this order."""

    OVERDUE = "o"
    SCORED = ""
    WITHOUT_SCORE = "w"


@dataclass(frozen=True)
class Cursor:
    """A place in a list: pages end and start there (keyset paging).

    Attributes:
        key: the score, or the place of a drawn image among the scores; in an order by time, the microseconds from 1970 until the image arrived.
        image_id: the id of the image at this place.
        part: the part of the list.
    """

    key: float
    image_id: int
    part: Part = Part.SCORED

    def __str__(self) -> str:
        """Return the cursor as text for a URL; `repr` keeps every bit of the float."""
        return f"{self.part}{self.key!r}_{self.image_id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse the text of a cursor. Raises ValueError if it is not one."""
        part = next((part for part in Part if part and text.startswith(part)), Part.SCORED)
        key, image_id = text.removeprefix(part).split("_")
        return cls(float(key), int(image_id), part)

    @property
    def just_above(self) -> Cursor:
        """The place directly above: what follows it in the list begins with the image at this place."""
        return replace(self, image_id=self.image_id - 1)

    @property
    def just_below(self) -> Cursor:
        """The place directly below: what precedes it in the list ends with the image at this place."""
        return replace(self, image_id=self.image_id + 1)

    @property
    def arrived(self) -> datetime:
        """The key as a time."""
        return _EPOCH + timedelta(microseconds=int(self.key))


@dataclass(frozen=True)
class Place:
    """Where an image stands in every list that holds it, whatever its order."""

    image_id: int
    rank: float | None
    arrived: datetime
    to_read: bool

    @classmethod
    def of(cls, image: Image) -> Place:
        """Return the place of an image."""
        to_read = is_to_read(image.review_state, image.verdict)
        return cls(image.id, image.queue_rank, image.received_at, to_read)

    def cursor(self, order: Order, overdue_from: datetime | None) -> Cursor:
        """Return the place as a cursor of a list in this order."""
        time = time_key(self.arrived)
        if self.rank is None:
            return Cursor(time, self.image_id, Part.WITHOUT_SCORE)
        if self.to_read and overdue_from is not None and self.arrived <= overdue_from:
            return Cursor(time, self.image_id, Part.OVERDUE)
        return Cursor(time if order is Order.OLDEST else self.rank, self.image_id)


def time_key(arrived: datetime) -> float:
    """Return a time as the key of a cursor, which is exact up to `LATEST`."""
    return float((arrived - _EPOCH) // timedelta(microseconds=1))


@dataclass(frozen=True)
class Sorting:
    """How the images of a part are sorted. `threshold`: see `Order.CLOSEST`; it is None in the other orders."""

    order: Order
    threshold: float | None = None

    @property
    def column(self) -> Any:
        """The column that the index is sorted by."""
        return Image.received_at if self.order is Order.OLDEST else Image.queue_rank

    @property
    def arms(self) -> Sequence[Arm]:
        """The stretches of the index to merge: one, or those on both sides of the threshold."""
        if self.threshold is not None:
            return [Arm(self, above=True), Arm(self, above=False)]
        return [Arm(self, above=None)]

    def key_of(self, value: Any) -> float:
        """Return a value of the column as the key of a cursor."""
        return time_key(value) if self.order is Order.OLDEST else float(value)


@dataclass(frozen=True)
class Arm:
    """A stretch of an index that is read in one direction. `above` tells the two sides of a threshold apart."""

    sorting: Sorting
    above: bool | None

    @property
    def _rises(self) -> bool:
        """Whether the column grows along the list."""
        return self.above if self.above is not None else self.sorting.order is Order.OLDEST

    def select(
        self, kind: Sequence[ColumnElement[bool]], cursor: Cursor | None, limit: int, *, upwards: bool
    ) -> Select[Any]:
        """Select the first `limit` images of a kind below the cursor, or above it, with the columns to merge by."""
        column = self.sorting.column
        beyond = [] if cursor is None else self._beyond(cursor, upwards=upwards)
        by_value = column.asc() if self._rises is not upwards else column.desc()
        return (
            select(Image.id, column.label("value"), *self._keys())
            .where(*kind, *self._side(), *beyond)
            .order_by(by_value, Image.id.desc() if upwards else Image.id.asc())
            .limit(limit)
        )

    def _keys(self) -> list[ColumnElement[Any]]:
        """Return the columns by which arms are merged; all rise. One arm is sorted by its value alone."""
        if self.above is None:
            return []
        column, threshold = self.sorting.column, literal(self.sorting.threshold)
        distance, along = (column - threshold, column) if self.above else (threshold - column, -column)
        return [distance.label("distance"), literal(int(not self.above)).label("side"), along.label("along")]

    def _side(self) -> list[ColumnElement[bool]]:
        if self.above is None:
            return []
        column = self.sorting.column
        return [column >= self.sorting.threshold if self.above else column < self.sorting.threshold]

    def _beyond(self, cursor: Cursor, *, upwards: bool) -> list[ColumnElement[bool]]:
        """Return the conditions for a place below the cursor, or above it.

        The first condition follows from the second. It lets the database start at this place in the index.
        """
        column, threshold = self.sorting.column, self.sorting.threshold
        if threshold is not None and (cursor.key >= threshold) is not self.above:
            return self._beyond_on_the_other_side(threshold, abs(cursor.key - threshold), upwards=upwards)
        key = cursor.arrived if self.sorting.order is Order.OLDEST else cursor.key
        further_id = Image.id < cursor.image_id if upwards else Image.id > cursor.image_id
        if self._rises is not upwards:
            return [column >= key, or_(column > key, further_id)]
        return [column <= key, or_(column < key, further_id)]

    def _beyond_on_the_other_side(
        self, threshold: float, distance: float, *, upwards: bool
    ) -> list[ColumnElement[bool]]:
        """Return the conditions for a cursor on the other side. At an equal distance, the side above comes first."""
        column, slack = self.sorting.column, -_ROUNDING if not upwards else _ROUNDING
        own = column - threshold if self.above else threshold - column
        edge = threshold + (distance + slack) if self.above else threshold - (distance + slack)
        if upwards:
            near = own <= distance if self.above else own < distance
            return [column <= edge if self.above else column >= edge, near]
        far = own > distance if self.above else own >= distance
        return [column >= edge if self.above else column <= edge, far]


def merged(
    sorting: Sorting,
    kinds: Sequence[Sequence[ColumnElement[bool]]],
    cursor: Cursor | None,
    limit: int,
    *,
    upwards: bool = False,
) -> Select[Any]:
    """Select the first images of these kinds below a cursor, or above it, the nearest first.

    The columns are `id`, `value`, and what `in_order` needs.
    """
    rows = ranges(sorting, kinds, cursor, limit, upwards=upwards)
    return select(*rows.c).order_by(*in_order(sorting, rows.c, upwards=upwards)).limit(limit)


def ranges(
    sorting: Sorting,
    kinds: Sequence[Sequence[ColumnElement[bool]]],
    cursor: Cursor | None,
    limit: int,
    *,
    upwards: bool = False,
) -> Subquery:
    """Select the first `limit` images of each kind below a cursor, or above it."""
    parts = [
        arm.select(kind, cursor, limit, upwards=upwards).subquery() for kind in kinds for arm in sorting.arms
    ]
    return union_all(*(select(part) for part in parts)).subquery()


def in_order(sorting: Sorting, columns: Any, *, upwards: bool = False) -> list[ColumnElement[Any]]:
    """Return the terms that sort selected images as the list is sorted."""
    if sorting.threshold is not None:
        rising = [columns.distance, columns.side, columns.along, columns.id]
        return [column.desc() if upwards else column.asc() for column in rising]
    rises = (sorting.order is Order.OLDEST) is not upwards
    return [
        columns.value.asc() if rises else columns.value.desc(),
        columns.id.desc() if upwards else columns.id.asc(),
    ]


def between(low: float | None, high: float | None) -> ColumnElement[bool]:
    """Return the condition for a score from `low` to `high`; None: no limit."""
    limits = []
    if low is not None:
        limits.append(Image.p_pneumonia >= low)
    if high is not None:
        limits.append(Image.p_pneumonia <= high)
    return and_(True, *limits)  # noqa: FBT003 - the neutral element
