"""Finds and counts the images of a list of the reading queue, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, case, func, select
from sqlalchemy.orm import Session

from worker.ledger.queue_filter import Asked, Stretch, tallied_total
from worker.ledger.queue_order import Cursor, Part, in_order, merged, ranges
from worker.ledger.tables import Image, Instance, Study

# Images that one page looks at, where no index holds what the filter asks for. A rare kind takes several pages.
SEARCHED = 2_000
# Images are counted up to this number, where no tally holds it.
COUNTED = 10_000
PARTS = list(Part)


@dataclass(frozen=True)
class Total:
    """A number of images: exactly, or at least so many."""

    number: int
    exact: bool = True


@dataclass(frozen=True)
class Found:
    """Places of a list in order. `stopped` is where the search ended before the list did; else None."""

    places: Sequence[Cursor]
    stopped: Cursor | None = None


def walk(
    session: Session,
    question: Asked,
    cursor: Cursor | None,
    limit: int,
    *,
    upwards: bool = False,
    condition: ColumnElement[bool] | None = None,
    parts: Sequence[Part] = PARTS,
) -> Found:
    """Return the first places below a cursor, or above it, the nearest first; None: from the end of the list."""
    places: list[Cursor] = []
    for stretch, start in _from(question, cursor, upwards=upwards):
        if stretch.part not in parts:
            continue
        kinds = stretch.kinds if condition is None else [[*kind, condition] for kind in stretch.kinds]
        part = replace(stretch, kinds=kinds)
        found = _search(session, part, start, limit - len(places), upwards=upwards)
        places += found.places
        if found.stopped or len(places) >= limit:
            return Found(places, found.stopped)
    return Found(places)


def _from(
    question: Asked, cursor: Cursor | None, *, upwards: bool
) -> Iterator[tuple[Stretch, Cursor | None]]:
    """Yield the parts of a list from a cursor on, each with the cursor where it begins inside the part."""
    stretches = question.stretches
    for stretch in reversed(stretches) if upwards else stretches:
        if cursor is None or stretch.part is cursor.part:
            yield stretch, cursor
        elif (PARTS.index(stretch.part) < PARTS.index(cursor.part)) is upwards:
            yield stretch, None


def _search(session: Session, stretch: Stretch, cursor: Cursor | None, limit: int, *, upwards: bool) -> Found:
    """Return the first places of a part. Where the index holds other images as well, look at `SEARCHED` of them."""
    sorting = stretch.sorting
    if stretch.others is None:
        rows = session.execute(merged(sorting, stretch.kinds, cursor, limit, upwards=upwards)).all()
        return Found([_place(stretch, row) for row in rows])
    seen = merged(sorting, stretch.kinds, cursor, SEARCHED, upwards=upwards).subquery()
    statement = _with_patients(seen, select(*seen.c, case((stretch.others, 1), else_=0).label("matches")))
    rows = session.execute(statement.order_by(*in_order(sorting, seen.c, upwards=upwards))).all()
    places = [_place(stretch, row) for row in rows if row.matches][:limit]
    is_cut = len(rows) == SEARCHED and len(places) < limit
    return Found(places, _place(stretch, rows[-1]) if is_cut else None)


def _place(stretch: Stretch, row: Any) -> Cursor:
    return Cursor(stretch.sorting.key_of(row.value), row.id, stretch.part)


def _with_patients(seen: Subquery, statement: Select[Any]) -> Select[Any]:
    return (
        statement.select_from(seen)
        .join(Image, Image.id == seen.c.id)
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
    )


def whole(session: Session, question: Asked) -> Total:
    """Count the images of a list: from the tallies if they know it, else up to a limit."""
    if question.is_tallied:
        return Total(tallied_total(session, question))
    return count_above(session, question, None)


def count_above(session: Session, question: Asked, above: Cursor | None) -> Total:
    """Count the images of a list, or those above a place, up to a limit."""
    number, exact = 0, True
    for stretch, start in _from(question, above, upwards=True):
        counted = _counted(session, stretch, start)
        number, exact = number + counted.number, exact and counted.exact
    return Total(number, exact)


def _counted(session: Session, stretch: Stretch, above: Cursor | None) -> Total:
    sorting = stretch.sorting
    if stretch.others is None:
        # A stretch of an index is counted without reading the rows.
        rows = ranges(sorting, stretch.kinds, above, COUNTED + 1, upwards=True)
        cut = select(rows.c.id).limit(COUNTED + 1).subquery()
        number = session.scalar(select(func.count()).select_from(cut)) or 0
        return Total(min(number, COUNTED), number <= COUNTED)
    seen = merged(sorting, stretch.kinds, above, SEARCHED + 1, upwards=True).subquery()
    matching = func.coalesce(func.sum(case((stretch.others, 1), else_=0)), 0)
    candidates, number = session.execute(_with_patients(seen, select(func.count(), matching))).one()
    return Total(int(number), candidates <= SEARCHED)
