"""Counts the readings of finished runs: the number of cases that the model misses is estimated from them.

Counted are runs that are read to the end: nothing in them waits for a worker or a reader. So every drawn image has a
final reading, and no number tells what an image is that somebody must still read without its score. All clear images
of these runs were drawn with the same chance (`worker.ledger.drawn_shares`), or the drawn ones would be no random sample of
them.

An image counts with its last score and the final reading made against that score. Phantoms, canaries, erased images,
and images that got an earlier score back and were not drawn again, do not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from worker.ledger import drawn_shares, protocols
from worker.ledger.drawn_shares import DrawnShares
from worker.ledger.findings import Action, Finding
from worker.ledger.group_traits import with_traits
from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import NEEDS_READING, WAITS_FOR_READER, ImageState, ReviewState, is_to_read
from worker.ledger.tables import Image, ImageTally, Prediction, Rescore, Review, Run

# A page looks at so many of the latest runs, and counts so many images: more would take longer than a page may.
RUNS, IMAGES = 200, 5_000
CLEAR = "clear"
_WAITS_FOR_WORKER = (ImageState.PENDING, ImageState.LEASED)


@dataclass(frozen=True)
class Waiting:
    """A run that is not read to the end, and how many of its images wait for a reader or a worker."""

    run_id: int
    name: str
    images: int


@dataclass(frozen=True)
class Extent:
    """Which of the latest runs are counted.

    Attributes:
        runs: ids and names, the latest first.
        images: the scored images in them.
        share: the share of clear images that was drawn, in [0, 1]; None without any run.
        earliest, latest: the times of the first and the last score in them; None without any run.
        waiting: runs that are not read to the end, the latest first.
        mixed: how many runs have clear images that were not all drawn with the same chance: the share changed while they
            were scored, or a re-triage changed which images are clear. Of runs before the counted ones, only the first counts.
        too_large: how many runs have more images than a page counts.
        other_share: how many runs were drawn from with another share.
        earlier: whether there are earlier runs that would make more images than a page counts.
    """

    runs: Mapping[int, str] = field(default_factory=dict)
    images: int = 0
    share: float | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    waiting: Sequence[Waiting] = ()
    mixed: int = 0
    too_large: int = 0
    other_share: int = 0
    earlier: bool = False


@dataclass(frozen=True)
class FinalReadings:
    """The final readings of a kind of images, counted.

    Attributes:
        with_signs, without_signs: by their finding.
        not_judged: the images that cannot be judged, which are no evidence of anything.
        score_first: how many readings followed a protocol that shows scores first.
    """

    with_signs: int = 0
    without_signs: int = 0
    not_judged: int = 0
    score_first: int = 0

    @property
    def judged(self) -> int:
        """The number of images that are evidence: with signs or without."""
        return self.with_signs + self.without_signs

    @property
    def read(self) -> int:
        """The number of images with a final reading."""
        return self.judged + self.not_judged


@dataclass(frozen=True)
class Read:
    """What was read of the runs.

    Attributes:
        shown: flagged and uncertain images.
        sample: drawn clear images.
        unread: flagged and uncertain images without a final reading.
        clear: clear images in all, read or not.
    """

    shown: FinalReadings
    sample: FinalReadings
    unread: int
    clear: int


@dataclass(frozen=True)
class _Finished:
    """A run that is read to the end. `share` is that of its clear images that was drawn; None: they do not have the same."""

    run_id: int
    name: str
    images: int
    earliest: datetime
    latest: datetime
    share: float | None


def extent(session: Session, *, images: int = IMAGES) -> Extent:
    """Return which runs to count, at most `images` images: the latest ones that one share of drawn images held for."""
    names, tallies = _latest_runs(session)
    waiting = [
        Waiting(run_id, names[run_id], number)
        for run_id in names
        if (number := sum(row.total for row in tallies[run_id] if _waits(row)))
    ]
    unfinished = {run.run_id for run in waiting}
    scored = {
        run_id: sum(row.total for row in tallies[run_id] if row.state == ImageState.SCORED)
        for run_id in names
        if run_id not in unfinished
    }
    shares = DrawnShares(session)
    finished = _finished(
        session, names, {run_id: number for run_id, number in scored.items() if number}, shares
    )
    chosen = _choose(finished, waiting, images)
    # Looked up for the chosen runs only: it takes a look at each clear image.
    while mixed := _mixed(session, [run for run in finished if run.run_id in chosen.runs], shares):
        finished = [replace(run, share=None) if run.run_id in mixed else run for run in finished]
        chosen = _choose(finished, waiting, images)
    return chosen


def read(session: Session, runs: Sequence[int]) -> Read:
    """Count the images of these runs by verdict and final reading."""
    counts: dict[tuple[str, bool], int] = defaultdict(int)
    for row in session.execute(_kinds(runs)):
        counts[row.verdict, row.review_state == ReviewState.READ] += row.number
    findings: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    blind: dict[int | None, bool] = {}
    for row in session.execute(_final_readings(runs)):
        if row.protocol_id not in blind:
            blind[row.protocol_id] = protocols.of(session, row.protocol_id).is_blind
        of_kind = findings[row.verdict == CLEAR]
        of_kind[row.finding] += row.number
        of_kind["score first"] += 0 if blind[row.protocol_id] else row.number
    unread = sum(number for (verdict, is_read), number in counts.items() if verdict != CLEAR and not is_read)
    clear = sum(number for (verdict, _), number in counts.items() if verdict == CLEAR)
    return Read(_counted(findings[False]), _counted(findings[True]), unread, clear)


def final_readings(session: Session, runs: Sequence[int]) -> Sequence[Row[int, str | None, str | None]]:
    """Return `image_id`, `verdict` and `finding` of each image that `read` counts as read to the end, by id."""
    return session.execute(
        select(Image.id.label("image_id"), Image.verdict, Review.finding)
        .select_from(Image)
        .join(Review, is_last_reading())
        .where(*_is_counted(runs), Review.prediction_id.is_not(None))
        .order_by(Image.id)
    ).all()


def _counted(found: Counter[str]) -> FinalReadings:
    return FinalReadings(
        found[Finding.SIGNS], found[Finding.NO_SIGNS], found[Finding.NOT_JUDGED], found["score first"]
    )


def _latest_runs(session: Session) -> tuple[dict[int, str], dict[int, list[Any]]]:
    """Return names and tallies of the latest runs, the latest first, without that of the canaries."""
    latest = select(Run.id, Run.name).where(Run.name != CANARY_RUN).order_by(Run.id.desc()).limit(RUNS)
    names: dict[int, str] = {row.id: row.name for row in session.execute(latest)}
    kinds = ImageTally.run_id, ImageTally.state, ImageTally.verdict, ImageTally.review_state
    totals = select(*kinds, func.sum(ImageTally.total).label("total")).where(ImageTally.run_id.in_(names))
    tallies: dict[int, list[Any]] = {run_id: [] for run_id in names}
    for row in session.execute(totals.group_by(*kinds)):
        tallies[row.run_id].append(row)
    return names, tallies


def _waits(tally: Any) -> bool:
    """Return whether images of this kind wait for a worker, or for a reader of their score."""
    if tally.state in _WAITS_FOR_WORKER:
        return True
    if tally.state != ImageState.SCORED:
        return False
    return tally.review_state in WAITS_FOR_READER or is_to_read(tally.review_state, tally.verdict)


def _finished(
    session: Session,
    names: Mapping[int, str],
    scored: Mapping[int, int],
    shares: DrawnShares,
) -> list[_Finished]:
    spans = select(Run.id, _scored_at(func.min).label("earliest"), _scored_at(func.max).label("latest"))
    rows = {row.id: row for row in session.execute(spans.where(Run.id.in_(scored)))}
    finished = []
    for run_id, images in scored.items():
        earliest, latest = rows[run_id].earliest, rows[run_id].latest
        share = None if shares.changed(earliest, latest) else shares.at(earliest)
        finished.append(_Finished(run_id, names[run_id], images, earliest, latest, share))
    return finished


def _mixed(session: Session, runs: Sequence[_Finished], shares: DrawnShares) -> set[int]:
    """Return which of these runs have clear images of which a re-triage drew another share than the run's, or left all to read."""
    of_runs = {run.run_id: run.share for run in runs}
    may_differ = shares.may_differ(min(run.earliest for run in runs)) if runs else None
    if may_differ is None:
        return set()
    each = aliased(Prediction)
    last = select(func.max(each.id)).where(each.image_id == Image.id).correlate(Image)
    clear = (
        select(*drawn_shares.COLUMNS, *drawn_shares.TRAITS)
        .select_from(Image)
        .join(Prediction, Prediction.id == last.scalar_subquery())
        .where(*that_count(list(of_runs)), Image.verdict == CLEAR, may_differ)
    )
    return {
        image.run_id
        for image in session.execute(with_traits(clear))
        if shares.of(image) != of_runs[image.run_id]
    }


def _scored_at(end: Callable[[Any], Any]) -> ScalarSelect[datetime]:
    """Select the time of the first or the last score of the row's run. Both are read from one end of an index."""
    return select(end(Image.scored_at)).where(Image.run_id == Run.id).correlate(Run).scalar_subquery()


def _choose(
    finished: Sequence[_Finished],
    waiting: Sequence[Waiting],
    most: int,
) -> Extent:
    """Choose the latest runs of one share while they fit."""
    fitting = [run for run in finished if run.share is not None and run.images <= most]
    share = fitting[0].share if fitting else None
    alike = [run for run in fitting if run.share == share]
    chosen: list[_Finished] = []
    for run in alike:
        if sum(one.images for one in chosen) + run.images > most:
            break
        chosen.append(run)
    return Extent(
        runs={run.run_id: run.name for run in chosen},
        images=sum(run.images for run in chosen),
        share=share,
        earliest=min((run.earliest for run in chosen), default=None),
        latest=max((run.latest for run in chosen), default=None),
        waiting=waiting,
        mixed=sum(run.share is None for run in finished),
        too_large=sum(run.images > most for run in finished),
        other_share=len(fitting) - len(alike),
        earlier=len(alike) > len(chosen),
    )


def _kinds(runs: Sequence[int]) -> Any:
    """Select the number of images of the runs by verdict and reading state."""
    kinds = Image.verdict, Image.review_state
    return select(*kinds, func.count().label("number")).where(*that_count(runs)).group_by(*kinds)


def _final_readings(runs: Sequence[int]) -> Any:
    """Select the number of final readings by the verdict of the image, finding and protocol.

    No re-triage changes the verdict of an image that was read. So it is the verdict that the reading was made against, also
    if a re-triage changed it before.
    """
    kinds = Image.verdict, Review.finding, Review.protocol_id
    return (
        select(*kinds, func.count().label("number"))
        .select_from(Image)
        .join(Review, is_last_reading())
        .where(*_is_counted(runs))
        .group_by(*kinds)
    )


def is_last_reading() -> ColumnElement[bool]:
    """Return the condition that joins an image with its last reading that was not taken back."""
    return Review.id == last_reading()


def last_reading() -> ScalarSelect[int]:
    """Select the id of the row's last reading that was not taken back."""
    final = aliased(Review)
    undo = aliased(Review)
    is_taken_back = select(undo.id).where(undo.undoes_id == final.id).exists()
    return (
        select(func.max(final.id))
        .where(final.image_id == Image.id, final.action != Action.UNDO, ~is_taken_back)
        .correlate(Image)
        .scalar_subquery()
    )


def _is_counted(runs: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    """Return the condition of the images of the runs that were read because of their verdict or because they were drawn."""
    # A function of the column, so that SQLite finds the images by their runs and does not go through all that were read.
    is_read = func.coalesce(Image.review_state, "") == ReviewState.READ
    is_chosen = or_(
        Image.verdict.in_(NEEDS_READING), and_(Image.verdict == CLEAR, Image.drawn_rank.is_not(None))
    )
    return *that_count(runs), is_read, is_chosen


def that_count(runs: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    """Return the condition of the images that count: an image has a verdict exactly while it is scored."""
    return Image.run_id.in_(runs), Image.verdict.is_not(None), ~Image.phantom, ~has_earlier_score()


def has_earlier_score() -> ColumnElement[bool]:
    """Return whether an image has an earlier score again. It was not drawn anew."""
    later = aliased(Prediction)
    was_scored_anew = select(later.id).where(
        later.image_id == Rescore.image_id, later.id > Rescore.prediction_id
    )
    return select(Rescore.id).where(Rescore.image_id == Image.id, ~was_scored_anew.exists()).exists()
