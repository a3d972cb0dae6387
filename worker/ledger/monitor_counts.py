"""Counts the images of one UTC day for the monitor, from the rows themselves.

An image counts on the day of its last score, with the present verdict and the final reading made against that score. A
rejected image counts on the day on which it arrived. Left out are phantoms, canaries, erased images, and images that got
an earlier score back: they did not take part in the draw of clear images.

The share of clear images that was drawn is known for each image: see `worker.ledger.drawn_shares`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session, aliased

from worker.card.band import is_far
from worker.ledger import drawn_shares
from worker.ledger.drawn_shares import DrawnShares
from worker.ledger.findings import Finding
from worker.ledger.missed_cases import CLEAR, has_earlier_score, last_reading
from worker.ledger.monitored_groups import Dimension, Traits
from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import (
    Image,
    Instance,
    Prediction,
    Receipt,
    Review,
    Run,
    Study,
)
from worker.monitor.counts import BINS, Bins, Counts, FindingCounts, Judged, Sample, bin_of

# The model of images without a score.
NO_MODEL = 0
_PAGE = 5_000
# The final findings, with their names in `FindingCounts`; any other reading waits for another one.
_FINAL = {
    Finding.SIGNS.value: "with_signs",
    Finding.NO_SIGNS.value: "without_signs",
    Finding.NOT_JUDGED.value: "not_judged",
}


@dataclass(frozen=True)
class Group:
    """A group of images that one model scored; `NO_MODEL` for images without a score."""

    dimension: Dimension
    name: str
    model_id: int


@dataclass(frozen=True)
class _Scored:
    """What is counted of an image with a score.

    Attributes:
        place: of its score, among twentieths.
        verdict: the present one.
        share: of the clear images that was drawn, as decimal text; empty for an image that is not clear.
        is_drawn: whether it was drawn, or read where all like it are: it is a part of the sample.
        finding: a name of `FindingCounts`; None without a final reading.
        is_far: whether it is far from the training data; None: the model does not say.
    """

    place: int
    verdict: str
    share: str
    is_drawn: bool
    finding: str | None
    is_far: bool | None


@dataclass
class _Tally:
    """The numbers of images of a group, by what is counted of each."""

    scored: Counter[_Scored] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def counts(self, *, draws: bool) -> Counts:
        """Return the numbers as `Counts`. Unless `draws`, no clear image counts as drawn."""
        verdicts: Counter[str] = Counter()
        for one, number in self.scored.items():
            verdicts[one.verdict] += number
        to_read = {one: number for one, number in self.scored.items() if one.verdict != CLEAR}
        clear = {one: number for one, number in self.scored.items() if one.verdict == CLEAR}
        undrawn = {one: number for one, number in clear.items() if not (draws and one.is_drawn)}
        shares = sorted({one.share for one in clear}) if draws else []
        return Counts(
            scored=_bins(self.scored),
            flagged=verdicts["flagged"],
            uncertain=verdicts["uncertain"],
            clear=verdicts[CLEAR],
            rejected=dict(sorted(self.rejected.items())),
            flagged_read=_findings({one: n for one, n in to_read.items() if one.verdict == "flagged"}),
            uncertain_read=_findings({one: n for one, n in to_read.items() if one.verdict == "uncertain"}),
            to_read_unread=sum(number for one, number in to_read.items() if one.finding is None),
            to_read_by_score=_judged(to_read),
            samples={
                share: _sample({one: n for one, n in clear.items() if one.share == share}) for share in shares
            },
            clear_read_undrawn=_findings(undrawn),
            measured=sum(number for one, number in self.scored.items() if one.is_far is not None),
            far=sum(number for one, number in self.scored.items() if one.is_far),
        )


def count_day(session: Session, day: date) -> dict[Group, Counts]:
    """Return the counts of every group that has an image on a UTC day. It reads each image of the day."""
    return count_days(session, [day])[day]


def count_days(session: Session, days: Collection[date]) -> dict[date, dict[Group, Counts]]:
    """Return `count_day` of some days. Rejected images are looked up once for all."""
    tallies: dict[date, dict[Group, _Tally]] = {day: defaultdict(_Tally) for day in days}
    shares = DrawnShares(session)
    for day in days:
        _count_scored(session, day, shares, tallies[day])
    _count_rejected(session, tallies)
    return {
        day: {
            group: tally.counts(draws=group.dimension is not Dimension.READER)
            for group, tally in of_day.items()
        }
        for day, of_day in tallies.items()
    }


def day_of(at: datetime) -> date:
    """Return the UTC day of a time."""
    return at.astimezone(UTC).date()


def start_of(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def _count_scored(session: Session, day: date, shares: DrawnShares, tallies: dict[Group, _Tally]) -> None:
    for row in session.execute(_scored_images(day)):
        finding = _FINAL.get(row.finding or "")
        share = shares.of(row) if row.verdict == CLEAR else None
        fact = _Scored(
            bin_of(row.p_pneumonia),
            row.verdict,
            "" if share is None else f"{share:.6g}",
            row.drawn_rank is not None or (share == drawn_shares.ALL and finding is not None),
            finding,
            None if row.distance is None else is_far(row.distance),
        )
        groups = _traits(row).groups()
        if finding is not None:
            groups[Dimension.READER] = str(row.reader_id)
        for dimension, name in groups.items():
            tallies[Group(dimension, name, row.model_id)].scored[fact] += 1


def _count_rejected(session: Session, tallies: Mapping[date, dict[Group, _Tally]]) -> None:
    if not tallies:
        return
    for row in session.execute(_rejected_images(min(tallies), max(tallies))):
        of_day = tallies.get(day_of(row.received_at))
        if of_day is not None:
            for dimension, name in _traits(row).groups().items():
                of_day[Group(dimension, name, NO_MODEL)].rejected[row.reason_code] += 1


def _traits(row: Any) -> Traits:
    return Traits(**{name: getattr(row, name) for name in Traits.__dataclass_fields__})


_TRAITS = (
    *(Study.age_years, Study.sex, Instance.view, Instance.manufacturer, Instance.station_class),
    *(Image.width, Image.height, Receipt.source, Receipt.received_by),
)


def _scored_images(day: date) -> Any:
    """Select the images whose last score is of a day. The index of the times of predictions finds them."""
    later = aliased(Prediction)
    is_read = Image.review_state == ReviewState.READ
    is_current = ~select(later.id).where(later.image_id == Image.id, later.id > Prediction.id).exists()
    images = (
        select(
            *drawn_shares.COLUMNS,
            Image.verdict,
            *(Review.finding, Review.user_id.label("reader_id")),
            *_TRAITS,
        )
        .select_from(Prediction)
        .join(Image, Image.id == Prediction.image_id)
        .outerjoin(Review, and_(is_read, Review.id == case((is_read, last_reading()))))
        .where(
            Prediction.finished_at >= start_of(day),
            Prediction.finished_at < start_of(day + timedelta(days=1)),
            *(Image.state == ImageState.SCORED, is_current, ~has_earlier_score()),
        )
    )
    return _of_patients(images)


def _rejected_images(first: date, last: date) -> Any:
    """Select the rejected images that arrived from one day to another. The condition is that of the index."""
    images = select(Image.received_at, Image.reason_code, *_TRAITS).select_from(Image)
    return _of_patients(
        images.where(
            Image.reason_code.is_not(None),
            Image.state == ImageState.REJECTED,
            Image.received_at >= start_of(first),
            Image.received_at < start_of(last + timedelta(days=1)),
        )
    )


def _of_patients(images: Any) -> Any:
    """Add the traits of images, and leave out phantoms and canaries."""
    first = select(func.min(Receipt.id)).where(Receipt.image_id == Image.id).correlate(Image)
    return (
        images.join(Run, Run.id == Image.run_id)
        .join(Receipt, Receipt.id == first.scalar_subquery())
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
        .where(~Image.phantom, Run.name != CANARY_RUN)
        .execution_options(yield_per=_PAGE)
    )


def _sample(clear: Mapping[_Scored, int]) -> Sample:
    drawn = {one: number for one, number in clear.items() if one.is_drawn}
    return Sample(
        clear=sum(clear.values()),
        read=_findings(drawn),
        unread=sum(number for one, number in drawn.items() if one.finding is None),
        by_score=_judged(drawn),
    )


def _findings(images: Mapping[_Scored, int]) -> FindingCounts:
    return FindingCounts(
        **{name: sum(n for one, n in images.items() if one.finding == name) for name in _FINAL.values()}
    )


def _judged(images: Mapping[_Scored, int]) -> Judged:
    found = (
        _bins({one: number for one, number in images.items() if one.finding == name})
        for name in ("with_signs", "without_signs")
    )
    return Judged(*found)


def _bins(images: Mapping[_Scored, int]) -> Bins:
    bins = [0] * BINS
    for one, number in images.items():
        bins[one.place] += number
    return tuple(bins)
