"""A reader's sitting, what they read since their last long pause, and what remains for readers.

The cost does not depend on the size of the ledger: a sitting is the end of an index, and the rest are tallies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Row, and_, case, func, select
from sqlalchemy.orm import Session

from worker.ledger.findings import Action, Finding
from worker.ledger.states import NOT_READ, ImageState, ReviewState, is_to_read
from worker.ledger.tables import Image, ImageTally, Prediction, Review, Run

# A longer time without a reading ends a sitting.
PAUSE = timedelta(hours=1)
# A sitting has no more acts than these, the latest ones.
LONGEST = 1_000
_AGREE = {("flagged", Finding.SIGNS), ("clear", Finding.NO_SIGNS)}
_COMPARED = {Finding.SIGNS, Finding.NO_SIGNS}


@dataclass(frozen=True)
class Sitting:
    """What a reader did between two long pauses.

    Attributes:
        readings: of each image, the reader's last reading that they did not take back, in the order of reading. A row has
            `image_id`, `original_name`, `run_id`, `finding`, `reason_code`, `score_shown`, and `verdict` and
            `p_pneumonia` of the score that was read, which are None for an image without a score.
        changed: how many of their own readings the reader changed, and did not take that back.
        taken_back: how many readings the reader took back.
        recorded: readings and changes, also those that were changed or taken back later.
        open_ms: for how long the image was open, for each of `recorded` where it is known.
        began, ended: the times of the first and the last act.
        is_cut: whether the sitting is longer than `LONGEST` acts, so that its beginning is missing.
    """

    readings: Sequence[Row[Any]]
    changed: int
    taken_back: int
    recorded: int
    open_ms: Sequence[int]
    began: datetime
    ended: datetime
    is_cut: bool

    @property
    def findings(self) -> Mapping[str, int]:
        """The number of images with each finding that occurs, in the order of `Finding`."""
        counts = Counter(reading.finding for reading in self.readings)
        return {finding.value: counts[finding] for finding in Finding if counts[finding]}

    @property
    def agreed(self) -> Sequence[Row[Any]]:
        """Readings that say what the verdict means: signs and *flagged*, no signs and *clear*."""
        return [reading for reading in self._compared if (reading.verdict, reading.finding) in _AGREE]

    @property
    def disagreed(self) -> Sequence[Row[Any]]:
        """Readings that say the opposite of what the verdict means."""
        return [reading for reading in self._compared if (reading.verdict, reading.finding) not in _AGREE]

    @property
    def uncertain(self) -> Sequence[Row[Any]]:
        """Readings with signs or without, of images that the model called uncertain."""
        return [
            reading
            for reading in self.readings
            if reading.verdict == "uncertain" and reading.finding in _COMPARED
        ]

    @property
    def without_score(self) -> Sequence[Row[Any]]:
        """Readings of images without a score."""
        return [reading for reading in self.readings if reading.verdict is None]

    @property
    def open_questions(self) -> Sequence[Row[Any]]:
        """Readings of scored images that say neither signs nor no signs."""
        return [
            reading
            for reading in self.readings
            if reading.verdict is not None and reading.finding not in _COMPARED
        ]

    @property
    def runs(self) -> Sequence[int]:
        """The ids of the runs of these images, the latest first."""
        return sorted({reading.run_id for reading in self.readings}, reverse=True)

    @property
    def _compared(self) -> Sequence[Row[Any]]:
        return [
            reading
            for reading in self.readings
            if reading.verdict in {"flagged", "clear"} and reading.finding in _COMPARED
        ]


@dataclass(frozen=True)
class Remaining:
    """What waits for readers, of all runs.

    Attributes:
        to_read: flagged, uncertain and drawn images that nobody has read.
        claimed: how many of these other readers have claimed now.
        second_opinions: images for which a second opinion is wanted.
        second_readings: images that wait for the second of two readers.
        adjudications: images on which two readers disagree.
        clear: clear images that nobody has read.
        rejected, quarantined: images without a score that nobody has read.
        pending: images that are pending or being scored.
    """

    to_read: int
    claimed: int
    second_opinions: int
    second_readings: int
    adjudications: int
    clear: int
    rejected: int
    quarantined: int
    pending: int


# A re-triage gave the image another verdict than its prediction in force has, before it was read.
_VERDICT = case(
    (
        and_(Image.operating_point_id.is_not(None), Image.scored_at == Prediction.finished_at),
        Image.verdict,
    ),
    else_=Prediction.verdict,
).label("verdict")


def latest_sitting(session: Session, reader_id: int) -> Sitting | None:
    """Return the reader's latest sitting, which may go on; None if they have read nothing yet."""
    acts: Sequence[Any] = session.execute(
        select(
            *(
                Review.id,
                Review.image_id,
                Review.action,
                Review.finding,
                Review.reason_code,
                Review.undoes_id,
            ),
            *(Review.score_shown, Review.open_ms, Review.at),
            *(_VERDICT, Prediction.p_pneumonia, Image.original_name, Image.run_id),
        )
        .join(Image, Image.id == Review.image_id)
        .outerjoin(Prediction, Prediction.id == Review.prediction_id)
        .where(Review.user_id == reader_id)
        .order_by(Review.id.desc())
        .limit(LONGEST + 1)
    ).all()
    if not acts:
        return None
    length = next(
        (number for number, (act, earlier) in enumerate(pairwise(acts), 1) if act.at - earlier.at > PAUSE),
        len(acts),
    )
    return _sitting(acts[: min(length, LONGEST)], is_cut=length > LONGEST)


def remaining(session: Session, reader_id: int | None, at: datetime) -> Remaining:
    """Return what waits for readers; `reader_id` is the one who asks."""
    kinds = (ImageTally.state, ImageTally.verdict, ImageTally.review_state)
    tallies = session.execute(
        select(*kinds, func.sum(ImageTally.total).label("total")).group_by(*kinds)
    ).all()
    unread = [tally for tally in tallies if tally.review_state in {"", *NOT_READ}]
    scored = [tally for tally in unread if tally.state == ImageState.SCORED]
    return Remaining(
        to_read=_total(tally for tally in scored if is_to_read(tally.review_state, tally.verdict)),
        claimed=_claimed(session, reader_id, at),
        second_opinions=_total(
            tally for tally in tallies if tally.review_state == ReviewState.SECOND_OPINION
        ),
        second_readings=_total(tally for tally in tallies if tally.review_state == ReviewState.READ_ONCE),
        adjudications=_total(tally for tally in tallies if tally.review_state == ReviewState.DISAGREED),
        clear=_total(tally for tally in scored if not is_to_read(tally.review_state, tally.verdict)),
        rejected=_total(tally for tally in unread if tally.state == ImageState.REJECTED),
        quarantined=_total(tally for tally in unread if tally.state == ImageState.QUARANTINED),
        pending=_total(tally for tally in tallies if tally.state in {ImageState.PENDING, ImageState.LEASED}),
    )


def names_of_runs(session: Session, run_ids: Sequence[int]) -> dict[int, str]:
    """Return the names of runs by their ids, in the order of the ids."""
    if not run_ids:
        return {}
    rows = session.execute(select(Run.id, Run.name).where(Run.id.in_(run_ids)))
    names = {row.id: row.name for row in rows}
    return {run_id: names[run_id] for run_id in run_ids}


def _sitting(acts: Sequence[Any], *, is_cut: bool) -> Sitting:
    taken_back = {act.undoes_id for act in acts if act.action == Action.UNDO}
    recorded = [act for act in acts if act.action != Action.UNDO]
    in_force = [act for act in recorded if act.id not in taken_back]
    latest: dict[int, Row[Any]] = {}
    for act in in_force:
        latest.setdefault(act.image_id, act)
    return Sitting(
        readings=sorted(latest.values(), key=lambda act: act.id),
        changed=sum(act.action == Action.AMEND for act in in_force),
        taken_back=len(taken_back),
        recorded=len(recorded),
        open_ms=[act.open_ms for act in recorded if act.open_ms is not None],
        began=acts[-1].at,
        ended=acts[0].at,
        is_cut=is_cut,
    )


def _total(tallies: Any) -> int:
    return sum(int(tally.total) for tally in tallies)


def _claimed(session: Session, reader_id: int | None, at: datetime) -> int:
    """Count the images to read that other readers have claimed.

    Each reader has one claim at most (`worker.ledger.review.claim`). All are read, by their index, and counted here: with
    more conditions, SQLite would choose the index of the queue and look at every image to read.
    """
    claims = session.execute(
        select(Image.claimed_by_id, Image.claimed_until, Image.review_state, Image.verdict).where(
            Image.claimed_by_id > 0
        )
    )
    return sum(
        claim.claimed_by_id != reader_id
        and claim.claimed_until is not None
        and claim.claimed_until > at
        and is_to_read(claim.review_state, claim.verdict)
        for claim in claims
    )
