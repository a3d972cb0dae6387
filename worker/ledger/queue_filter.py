"""What a list of the reading queue holds: the parts of it, their ranges, and the conditions of its filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select, true, union_all
from sqlalchemy.orm import Session, aliased

from worker.ledger import thresholds
from worker.ledger.findings import Action
from worker.ledger.models import latest_point
from worker.ledger.queue_order import Order, Part, Sorting, between
from worker.ledger.runs import run_at
from worker.ledger.states import (
    NEEDS_READING,
    NOT_READ,
    WAITS_FOR_READER,
    ImageState,
    ReviewState,
    is_to_read,
)
from worker.ledger.tables import (
    Image,
    ImageTally,
    Instance,
    Model,
    Prediction,
    Receipt,
    Review,
    Study,
)

VERDICTS = (*NEEDS_READING, "clear")
WAITING = (ImageState.PENDING, ImageState.LEASED)
TURNED_AWAY = (ImageState.REJECTED, ImageState.QUARANTINED)
WITHOUT_SCORE = (*TURNED_AWAY, *WAITING)


@dataclass(frozen=True)
class QueueFilter:
    """A filter of images, and their order; an empty field does not restrict the list.

    Attributes:
        verdicts, review: of the scored images. `review` also holds for images without a score: nobody has read them
            until a reading of them is in force. Drawn images are unread.
        blind: whether the list must not tell verdicts that are hidden: images in `WAITS_FOR_READER` are then
            listed with all verdicts, or not at all where the filter asks for one verdict or for scores.
        run: as in `worker.ledger.runs.run_at`.
        states: the states to list. Scored images come first.
        order: of the scored images. Images without a score are always listed by the time of their arrival.
        scores: the lowest and the highest score.
        source: a source of a receipt of the image.
        ages: the lowest age in years, and the first age above; `(None, None)` means that the age is not known.
        sex, view: as they are in the ledger; empty text means that it is not known.
        reader: the id of a reader who has read the image.
        reason: the code of the reason why an image was rejected or quarantined.
        overdue_from: an image to read that arrived at this time or earlier is overdue, and comes first.
    """

    verdicts: Sequence[str] = NEEDS_READING
    review: ReviewState | None = ReviewState.UNREAD
    run: str | None = None
    states: Sequence[ImageState] = (ImageState.SCORED,)
    order: Order = Order.SCORE
    scores: tuple[float | None, float | None] = (None, None)
    source: str | None = None
    ages: tuple[float | None, float | None] | None = None
    sex: str | None = None
    view: str | None = None
    reader: int | None = None
    reason: str | None = None
    overdue_from: datetime | None = None
    blind: bool = True


@dataclass(frozen=True)
class Stretch:
    """A part of a list: how it is sorted, its ranges in the index, and what else must hold of an image in it.

    `others` is none if the ranges hold no other images.
    """

    part: Part
    sorting: Sorting
    kinds: Sequence[Sequence[ColumnElement[bool]]]
    others: ColumnElement[bool] | None = None


class Asked:
    """A filter as the database takes it."""

    def __init__(self, wanted: QueueFilter, run_id: int | None, threshold: float | None) -> None:
        """Hold the filter, the id of its run, and the threshold of its order."""
        self.wanted, self._run_id, self._threshold = wanted, run_id, threshold
        self._of_run = [] if run_id is None else [Image.run_id == run_id]

    @property
    def is_tallied(self) -> bool:
        """Whether the tallies count this list."""
        return self.wanted.scores == (None, None) and not self._joined

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The parts of the list that may hold images. A page walks them several times."""
        made: dict[Part, Callable[[], Stretch]] = {
            Part.OVERDUE: self._overdue,
            Part.SCORED: self._scored,
            Part.WITHOUT_SCORE: self._without_score,
        }
        return [stretch for part in Part if (stretch := made[part]()).kinds]

    def tallied(self) -> ColumnElement[bool]:
        """Return the condition for the tallies of this list."""
        reviews = self._reviews()
        unscored = [state for state in self.wanted.states if state is not ImageState.SCORED]
        nothing_read = [""] if ReviewState.UNREAD in reviews else []
        scored = [
            and_(ImageTally.review_state == review, ImageTally.verdict.in_(verdicts))
            for review, verdicts in self._verdicts_by_review(reviews).items()
        ]
        listed = or_(
            and_(ImageTally.state.in_(unscored), ImageTally.review_state.in_([*reviews, *nothing_read])),
            and_(true() if ImageState.SCORED in self.wanted.states else false(), or_(false(), *scored)),
        )
        return and_(listed, *([] if self._run_id is None else [ImageTally.run_id == self._run_id]))

    def _reviews(self) -> Sequence[ReviewState]:
        if self.wanted.review is ReviewState.UNREAD:
            return NOT_READ
        return [self.wanted.review] if self.wanted.review else list(ReviewState)

    def _verdicts_by_review(self, reviews: Sequence[ReviewState]) -> dict[ReviewState, Sequence[str]]:
        """Return the verdicts of the images to list in each reading state."""
        asked_for = self.wanted.verdicts or VERDICTS
        hidden = asked_for
        if self.wanted.blind:
            tells_nothing = {*asked_for} >= {*NEEDS_READING} and self.wanted.scores == (None, None)
            hidden = VERDICTS if tells_nothing else ()
        return {review: hidden if review in WAITS_FOR_READER else asked_for for review in reviews}

    def _overdue(self) -> Stretch:
        if self.wanted.overdue_from is None or ReviewState.UNREAD not in self._reviews():
            return Stretch(Part.OVERDUE, Sorting(Order.OLDEST), [])
        kinds = self._scored_kinds(NOT_READ, of_unread=NEEDS_READING)
        late = Image.received_at <= self.wanted.overdue_from
        return Stretch(
            Part.OVERDUE, Sorting(Order.OLDEST), [[*kind, late] for kind in kinds], self._all(self._scores())
        )

    def _scored(self) -> Stretch:
        kinds = self._scored_kinds(self._reviews())
        sorting = Sorting(self.wanted.order, self._threshold)
        if sorting.order is Order.OLDEST:
            return Stretch(Part.SCORED, sorting, kinds, self._all([*self._scores(), *self._in_time()]))
        kinds = [[*kind, *self._scores()] for kind in kinds]
        return Stretch(Part.SCORED, sorting, kinds, self._all(self._in_time()))

    def _without_score(self) -> Stretch:
        reviews = self._reviews()
        read = Image.review_state.in_(reviews)
        unread = or_(read, Image.review_state.is_(None)) if ReviewState.UNREAD in reviews else read
        # The index holds only images without a verdict: it needs the condition.
        kinds = [
            [Image.state == state, Image.verdict.is_(None), unread, *self._of_run]
            for state in self.wanted.states
            if state is not ImageState.SCORED and self.wanted.scores == (None, None)
        ]
        return Stretch(Part.WITHOUT_SCORE, Sorting(Order.OLDEST), kinds, self._all([]))

    def _scored_kinds(
        self, reviews: Sequence[ReviewState], *, of_unread: Sequence[str] = VERDICTS
    ) -> list[list[ColumnElement[bool]]]:
        """Return the ranges of these reading states. Those of unread images are narrowed to some verdicts."""
        if ImageState.SCORED not in self.wanted.states:
            return []
        return [
            [Image.review_state == review, Image.verdict == verdict, *self._of_run]
            for review, verdicts in self._verdicts_by_review(reviews).items()
            for verdict in verdicts
            if review is not ReviewState.UNREAD or verdict in of_unread
        ]

    def _scores(self) -> list[ColumnElement[bool]]:
        return [] if self.wanted.scores == (None, None) else [between(*self.wanted.scores)]

    def _in_time(self) -> list[ColumnElement[bool]]:
        """Return the condition that keeps images out that `_overdue` lists."""
        if self.wanted.overdue_from is None or ReviewState.UNREAD not in self._reviews():
            return []
        return [
            or_(
                Image.received_at > self.wanted.overdue_from,
                and_(Image.review_state != ReviewState.UNREAD, Image.review_state != ReviewState.DRAWN),
                and_(Image.review_state == ReviewState.UNREAD, Image.verdict.not_in(NEEDS_READING)),
            )
        ]

    def _all(self, conditions: list[ColumnElement[bool]]) -> ColumnElement[bool] | None:
        both = [*conditions, *self._joined]
        return and_(*both) if both else None

    @cached_property
    def _joined(self) -> list[ColumnElement[bool]]:
        """The conditions on what no index of the queue holds. The rows of instance and study are joined."""
        wanted = self.wanted
        conditions: list[ColumnElement[bool]] = []
        if wanted.source is not None:
            arrived = select(Receipt.id).where(Receipt.image_id == Image.id, Receipt.source == wanted.source)
            conditions.append(_is_any(arrived))
        if wanted.ages is not None:
            conditions.append(_of_age(*wanted.ages))
        for column, value in ((Study.sex, wanted.sex), (Instance.view, wanted.view)):
            if value is not None:
                conditions.append(column == value if value else column.is_(None))
        if wanted.reader is not None:
            conditions.append(read_by(wanted.reader))
        if wanted.reason is not None:
            conditions.append(Image.reason_code == wanted.reason)
        return conditions


def asked(session: Session, wanted: QueueFilter) -> Asked:
    """Look the run and the threshold of a filter up, and whether any case is overdue: mostly none is."""
    if wanted.overdue_from is not None and not _any_overdue(session, wanted.overdue_from):
        wanted = replace(wanted, overdue_from=None)
    run = None if wanted.run is None else run_at(session, wanted.run)
    # No run has the id 0.
    run_id = None if wanted.run is None else run.id if run else 0
    threshold = None
    if wanted.order is Order.CLOSEST:
        threshold = threshold_in_force(session)
    return Asked(wanted, run_id, threshold)


def _any_overdue(session: Session, overdue_from: datetime) -> bool:
    late = [
        select(Image.id)
        .where(
            Image.review_state == review,
            Image.verdict == verdict,
            Image.received_at <= overdue_from,
        )
        .limit(1)
        .subquery()
        for review, verdict in product(NOT_READ, VERDICTS)
        if is_to_read(review, verdict)
    ]
    return session.scalar(union_all(*(select(rows.c.id) for rows in late)).limit(1)) is not None


def threshold_in_force(session: Session) -> float:
    """Return the general threshold that the model of the latest prediction follows now; a half if there is none."""
    latest = select(func.max(Prediction.id)).scalar_subquery()
    model = session.scalars(
        select(Model).join(Prediction, Prediction.model_id == Model.id).where(Prediction.id == latest)
    ).one_or_none()
    if model is None:
        return 0.5
    setting = thresholds.in_force(session, model.sha256)
    if setting and setting.point:
        return setting.point.threshold
    point = latest_point(session, model)
    return point.threshold if point else 0.5


def tallied_total(session: Session, question: Asked) -> int:
    """Return the number of images of a list, from the tallies, which know nothing of scores, patients and readers."""
    return int(session.scalar(select(func.sum(ImageTally.total)).where(question.tallied())) or 0)


def _is_any(rows: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that there is such a row. For EXISTS, PostgreSQL may read the whole table into a hash."""
    return rows.limit(1).scalar_subquery().is_not(None)


def _of_age(low: float | None, high: float | None) -> ColumnElement[bool]:
    if low is None and high is None:
        return Study.age_years.is_(None)
    limits: list[Any] = [] if low is None else [Study.age_years >= low]
    return and_(*limits, *([] if high is None else [Study.age_years < high]))


def read_by(reader: int) -> ColumnElement[bool]:
    """Return the condition that a reading of this reader has not been taken back."""
    # The sum keeps databases from the index of readers, which would read all readings of one for each image.
    later = aliased(Review)
    undone = select(later.id).where(later.undoes_id == Review.id).exists()
    own = select(Review.id).where(
        Review.image_id == Image.id, Review.user_id + 0 == reader, Review.action != Action.UNDO, ~undone
    )
    return and_(Image.review_state.not_in(NOT_READ), _is_any(own))
