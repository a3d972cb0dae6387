"""Pairs of a first and a second reading of the same image, as each reader first made it: what agreement is counted from.

A reading that was changed later counts as it was first made. A reading that was taken back does not count, nor does a
reader's further reading of an image: they may have seen the score or the other reading meanwhile. Images that were
erased, phantoms and canaries do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, ScalarSelect, Select, and_, func, or_, select, type_coerce
from sqlalchemy.orm import Session, aliased

from worker.ledger.findings import Action, Finding, Stage
from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import SECOND_READING, Image, Review, Run

# A page counts so many of the latest second readings: more would take longer than a page may.
LATEST = 1_000


@dataclass(frozen=True)
class EqualPairs:
    """A number of pairs that are alike.

    Attributes:
        first_reader, second_reader: ids of the two people.
        first, second: their findings.
        decided: the finding of an adjudicator, whose reading was not taken back; None without one.
        waits: whether the image waits for an adjudicator now.
        score_shown: whether one of both may have seen the score before they decided.
        number: of the pairs.
        earliest, latest: the times of their second readings.
    """

    first_reader: int
    second_reader: int
    first: Finding
    second: Finding
    decided: Finding | None
    waits: bool
    score_shown: bool
    number: int
    earliest: datetime
    latest: datetime


@dataclass(frozen=True)
class DoubleReadings:
    """The pairs among the latest second readings.

    Attributes:
        pairs: alike ones together.
        left_out: second readings in no pair: they were taken back, or one of both people had read the image before.
    """

    pairs: Sequence[EqualPairs]
    left_out: int


def latest_pairs(session: Session, *, among: int = LATEST) -> DoubleReadings:
    """Return the pairs of the latest `among` second readings. The cost does not depend on the size of the ledger."""
    pair = _pairs(among).subquery()
    counted: tuple[ColumnElement[Any], ...] = (
        *(pair.c.first_reader, pair.c.second_reader, pair.c.first, pair.c.second),
        *(pair.c.decided, pair.c.waits, pair.c.score_shown, pair.c.is_first_made),
    )
    rows = session.execute(
        select(
            *counted,
            func.count().label("number"),
            func.min(pair.c.at).label("earliest"),
            func.max(pair.c.at).label("latest"),
        ).group_by(*counted)
    ).all()
    pairs = [
        EqualPairs(
            row.first_reader,
            row.second_reader,
            Finding(row.first),
            Finding(row.second),
            Finding(row.decided) if row.decided else None,
            bool(row.waits),
            bool(row.score_shown),
            row.number,
            row.earliest,
            row.latest,
        )
        for row in rows
        if row.is_first_made
    ]
    pairs.sort(key=_place)
    return DoubleReadings(pairs, sum(row.number for row in rows if not row.is_first_made))


def _place(pair: EqualPairs) -> tuple[Any, ...]:
    return (
        *(pair.first_reader, pair.second_reader, pair.first, pair.second),
        *(pair.decided or "", pair.waits, pair.score_shown),
    )


def _pairs(among: int) -> Select[Any]:
    """Select one row for each of the latest second readings, and the first reading that it was compared with."""
    second = _latest_second_readings(among)
    first = aliased(Review)
    is_first_made = and_(
        ~_is_taken_back(second.c.id),
        ~_has_read_before(second.c.image_id, second.c.user_id, second.c.id),
        ~_has_read_before(first.image_id, first.user_id, first.id),
    )
    return (
        select(
            first.user_id.label("first_reader"),
            second.c.user_id.label("second_reader"),
            first.finding.label("first"),
            second.c.finding.label("second"),
            _decision(second.c.image_id, second.c.id).label("decided"),
            (Image.review_state == ReviewState.DISAGREED).label("waits"),
            or_(first.score_shown.is_not(False), second.c.score_shown.is_not(False)).label("score_shown"),
            is_first_made.label("is_first_made"),
            second.c.at.label("at"),
        )
        .select_from(second)
        .join(first, first.id == _first_reading(second.c.image_id, second.c.id))
        .join(Image, Image.id == second.c.image_id)
        .join(Run, Run.id == Image.run_id)
        .where(Image.state != ImageState.ERASED, ~Image.phantom, Run.name != CANARY_RUN)
    )


def _latest_second_readings(among: int) -> Any:
    made = select(
        *(Review.id, Review.image_id, Review.user_id, Review.finding, Review.score_shown, Review.at)
    )
    # The condition is the one of the index, as text: a plan that is kept for any parameter could not use the index.
    made = made.where(SECOND_READING, Review.action == Action.READ)
    return made.order_by(Review.id.desc()).limit(among).subquery("second_reading")


def _first_reading(image_id: Any, before: Any) -> ScalarSelect[int]:
    """Select the last first reading of an image before a second one that nobody took back, not a change of it."""
    one = aliased(Review)
    made = one.image_id == image_id, one.id < before, one.stage == Stage.FIRST, one.action == Action.READ
    return select(func.max(one.id)).where(*made, ~_is_taken_back(one.id)).scalar_subquery()


def _decision(image_id: Any, after: Any) -> ScalarSelect[str | None]:
    """Select the finding of the adjudicator after a second reading."""
    one = aliased(Review)
    made = one.image_id == image_id, one.id > after, one.stage == Stage.ADJUDICATION
    last = select(one.finding).where(*made, ~_is_taken_back(one.id)).order_by(one.id.desc()).limit(1)
    return last.scalar_subquery()


def _is_taken_back(review_id: Any) -> ColumnElement[bool]:
    undo = aliased(Review)
    return select(undo.id).where(undo.undoes_id == review_id).exists()


def _has_read_before(image_id: Any, user_id: Any, review_id: Any) -> ColumnElement[bool]:
    """Return whether a person read the image before. Not by EXISTS: SQLite would look through all readings of the person."""
    earlier = aliased(Review)
    readers = select(earlier.user_id).where(earlier.image_id == image_id, earlier.id < review_id)
    return type_coerce(user_id, BigInteger).in_(readers)
