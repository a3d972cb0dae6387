"""The figures of the monitor: what the page, the API and the command show, from the counts that the ledger keeps.

Only days that are over are shown to people: today's counts change with each image, so their difference would say what the
last image was. Under a protocol that hides scores until a reader has decided, days on which an image waits for a reader are
left out, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from worker.card.reading import Point, figure_sets, operating_points, read_card
from worker.card.schema import Card
from worker.ledger import actors, models, monitoring, protocols, users
from worker.ledger.models import RegisteredModel
from worker.ledger.monitor_counts import NO_MODEL, day_of
from worker.ledger.monitored_groups import AGES, EVERYTHING, SIZES, UNKNOWN, Dimension
from worker.ledger.monitoring import DayCounts, Found
from worker.ledger.session import ledger_time
from worker.ledger.tables import Model, OperatingPointRow
from worker.monitor import drift, estimates
from worker.monitor.counts import NO_BINS, Bins, Counts
from worker.monitor.drift import Drift
from worker.monitor.estimates import SMALL, CalibrationBin, Estimate

# Scores are compared with those of so many days before the period.
EARLIER_DAYS = 56
_TOO_FEW = Estimate(None, why_not=f"Fewer than {SMALL} images were scored.")
_NO_SAMPLE_OF_READERS = (
    "Clear images are drawn for all readers together, so this is not known for one reader."
)


class Period(StrEnum):
    """The length of what is added up."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_of(self, day: date) -> date:
        """Return the first day of the period that holds a day. Weeks begin on Monday."""
        if self is Period.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is Period.MONTH else day

    def before(self, first: date) -> date:
        """Return the first day of the period before the one that begins on `first`."""
        return self.first_of(first - timedelta(days=1))

    def last_of(self, first: date) -> date:
        """Return the last day of the period that begins on `first`."""
        if self is Period.DAY:
            return first
        # So many days after the first one, the next period has begun.
        inside_the_next = first + timedelta(days=7 if self is Period.WEEK else 31)
        return self.first_of(inside_the_next) - timedelta(days=1)


# How many periods are shown, and over how many of the last ones groups, reasons and calibration are counted.
SHOWN: Mapping[Period, int] = {Period.DAY: 28, Period.WEEK: 26, Period.MONTH: 13}
RECENT: Mapping[Period, int] = {Period.DAY: 28, Period.WEEK: 13, Period.MONTH: 3}


@dataclass(frozen=True)
class Asked:
    """What to show.

    Attributes:
        period: what is added up.
        dimension: by what images are grouped.
        group: whose figures are shown by period.
        model_id: of the model; None: the one that scores now.
        until: the last day; None: the last one that is over.
    """

    period: Period = Period.WEEK
    dimension: Dimension = Dimension.ALL
    group: str = EVERYTHING
    model_id: int | None = None
    until: date | None = None


@dataclass(frozen=True)
class Expected:
    """What the model's card expects.

    Attributes:
        point: the name of the general operating point in force; empty without one.
        flagged: the share of flagged images; None if the card has no figure for this point, or if images of some groups
            follow other points.
        scores: the share of scores in each twentieth; None if the card has no curve for it.
        has_groups: whether images of some groups follow other points.
    """

    point: str = ""
    flagged: float | None = None
    scores: Sequence[float] | None = None
    has_groups: bool = False


@dataclass(frozen=True)
class Figures:
    """The figures of a group in a period. `None` figures of a group that is too small to be shown.

    Attributes:
        key: of the period (its first day) or of the group.
        name: the words for it.
        first, last: its days.
        is_complete: whether all days of the period are counted: it began after the first image, is over, and no day of it is
            withheld.
        images: with a score.
        is_small: whether it is too small: then every other figure is empty.
        judged: images with a final reading that counts.
        far: the share far from the training data, of the images of which the model says it.
        from_card: how far the scores lie from those that the card expects.
        from_earlier: how far they lie from those of this site in the `EARLIER_DAYS` before.
    """

    key: str
    name: str
    first: date
    last: date
    images: int = 0
    is_small: bool = False
    judged: int = 0
    flagged: Estimate | None = None
    rejected: Estimate | None = None
    overridden: Estimate | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    ppv: Estimate | None = None
    npv: Estimate | None = None
    far: Estimate | None = None
    from_card: Drift | None = None
    from_earlier: Drift | None = None
    is_complete: bool = True


# The shares of `Figures`, and whether they come from readings.
SHARES = ("flagged", "rejected", "overridden", "sensitivity", "specificity", "ppv", "npv", "far")


@dataclass(frozen=True)
class Rejected:
    """How many images were rejected for one reason, and their share of all that arrived."""

    reason: str
    images: int
    share: Estimate


@dataclass(frozen=True)
class MonitorFigures:
    """All that the monitor shows.

    Attributes:
        asked: what was asked for, with the model and the last day filled in.
        models: every model, the active one first.
        model: whose scores are shown; None before a worker has registered one.
        expected: what its card expects.
        first, last: the days of the figures by period; None before any day was counted.
        recent: the first day of all other figures, which end with the same day.
        as_of: the time until which the counts hold.
        left: days that are still to be counted anew.
        withheld: days that are not shown to readers, because images of them wait for a reader.
        others: images of the chosen group that other models scored.
        whole: of the chosen group, over the recent days.
        periods: of the chosen group, the earliest first.
        groups: of the dimension, over the recent days; empty for `all`.
        choices: the groups that can be chosen, with the words for them.
        rejected: of the chosen group, the most frequent reason first.
        calibration: of the chosen group; empty if it is too small.
        found: what has changed, as the sweeper found it last.
    """

    asked: Asked
    models: Sequence[Model]
    model: Model | None
    expected: Expected
    first: date | None = None
    last: date | None = None
    recent: date | None = None
    as_of: datetime | None = None
    left: int = 0
    withheld: int = 0
    others: int = 0
    whole: Figures | None = None
    periods: Sequence[Figures] = ()
    groups: Sequence[Figures] = ()
    choices: Mapping[str, str] | None = None
    rejected: Sequence[Rejected] = ()
    calibration: Sequence[CalibrationBin] = ()
    found: Found | None = None

    @property
    def says_distance(self) -> bool:
        """Whether the share of images far from the training data is known for any period or group."""
        shown = (*self.periods, *self.groups, *([self.whole] if self.whole else []))
        return any(says_distance(one) for one in shown)


def says_distance(one: Figures) -> bool:
    """Return whether it is known which share of these images is far from the training data."""
    return one.far is not None and one.far.value is not None


def monitor_figures(
    session: Session, asked: Asked, *, names: bool = True, person: bool = True
) -> MonitorFigures:
    """Read the figures from the ledger.

    Args:
        session: of a snapshot.
        asked: what to show.
        names: whether readers are named. Otherwise numbers stand for them.
        person: whether a person asks, who may read images: see above. Programs see today's counts as well.

    Raises LookupError for a model or a group that there is not.
    """
    registered = models.registered_models(session)
    chosen = _chosen(registered, asked.model_id)
    extent = monitoring.extent(session)
    mark = monitoring.mark(session)
    start = MonitorFigures(
        asked=asked,
        models=[one.model for one in registered],
        model=chosen.model if chosen else None,
        expected=_expected(chosen),
        left=len(mark.stale),
        found=monitoring.found(session),
    )
    if extent is None or chosen is None:
        return start
    today = day_of(ledger_time(session))
    over = today - timedelta(days=1) if person else today
    last = min(asked.until or over, over, extent[1])
    if last < extent[0]:
        return start
    _check_group(session, asked)
    return _Reader(session, start, chosen.model, names=names, person=person).read(extent[0], last, today)


@dataclass(frozen=True)
class ScoresOfDays:
    """The scores of the images of some days, which are over, by twentieths."""

    first: date
    last: date
    scores: Bins


def scores_of_days(
    session: Session, model: Model, first: date, last: date, *, person: bool = True
) -> ScoresOfDays | None:
    """Return the scores that a model gave from one day to another; None if no day that may be shown lies between them.

    `person` as in `monitor_figures`: the days that a person may see.
    """
    over = day_of(ledger_time(session)) - timedelta(days=1)
    last = min(last, over)
    if last < first:
        return None
    start = MonitorFigures(Asked(), models=(), model=model, expected=Expected())
    return ScoresOfDays(
        first, last, _Reader(session, start, model, names=False, person=person).scores(first, last)
    )


class _Reader:
    """Reads the counts of some days and makes figures of them."""

    def __init__(
        self, session: Session, start: MonitorFigures, model: Model, *, names: bool, person: bool
    ) -> None:
        self._session, self._start, self._names = session, start, names
        self._asked, self._model = start.asked, model
        self._hides = person and protocols.in_force(session).protocol.is_blind

    def read(self, first_ever: date, last: date, today: date) -> MonitorFigures:
        """Return the figures of the days up to `last`. The first image arrived on the day `first_ever`."""
        period = self._asked.period
        firsts = [period.first_of(last)]
        while len(firsts) < SHOWN[period] and firsts[-1] > first_ever:
            firsts.append(period.before(firsts[-1]))
        firsts.reverse()
        recent = firsts[-RECENT[period] :][0]
        earliest = firsts[0] - timedelta(days=EARLIER_DAYS)
        withheld = self._withheld(earliest, last)
        of_group = self._rows(self._asked.group, earliest, last, withheld)
        of_dimension = (
            [] if self._asked.dimension is Dimension.ALL else self._rows(None, recent, last, withheld)
        )
        days = self._of_model(of_group)
        names = self._words({row.group.name for row in of_dimension} | {self._asked.group})
        whole = monitoring.added(row for row in days if row.day >= recent)
        return replace(
            self._start,
            first=max(firsts[0], first_ever),
            last=last,
            recent=max(recent, first_ever),
            as_of=max((row.as_of for row in of_group), default=None),
            withheld=sum(firsts[0] <= day for day in withheld),
            others=sum(
                sum(row.document.get("scored", ()))
                for row in of_group
                if row.day >= firsts[0] and row.group.model_id not in {self._model.id, NO_MODEL}
            ),
            whole=self._figures(
                (self._asked.group, names[self._asked.group]), max(recent, first_ever), last, whole
            ),
            periods=self._marked(self._periods(firsts, last, days), (first_ever, last, today), withheld),
            groups=self._groups(of_dimension, names, max(recent, first_ever), last),
            choices=names,
            rejected=_rejected(whole),
            calibration=() if self._is_reader or whole.images < SMALL else estimates.calibration(whole),
        )

    def scores(self, first: date, last: date) -> Bins:
        """Return the scores of all images of the days that may be shown."""
        withheld = self._withheld(first, last)
        return _scores(self._of_model(self._rows(EVERYTHING, first, last, withheld)))

    @property
    def _is_reader(self) -> bool:
        return self._asked.dimension is Dimension.READER and self._asked.group != EVERYTHING

    def _rows(
        self, group: str | None, first: date, last: date, withheld: Collection[date]
    ) -> list[DayCounts]:
        # All images are a group of every dimension.
        dimension = Dimension.ALL if group == EVERYTHING else self._asked.dimension
        rows = monitoring.counts(self._session, dimension, first, last, group=group)
        return [row for row in rows if row.day not in withheld]

    def _of_model(self, rows: Iterable[DayCounts]) -> list[DayCounts]:
        return [row for row in rows if row.group.model_id in {self._model.id, NO_MODEL}]

    def _withheld(self, first: date, last: date) -> set[date]:
        """Return the days of which images wait for a reader, if that hides them."""
        if not self._hides:
            return set()
        rows = monitoring.counts(self._session, Dimension.ALL, first, last)
        return {row.day for row in rows if _waits(row.counts)}

    def _words(self, groups: Collection[str]) -> dict[str, str]:
        """Return the words for groups, in their order."""
        if self._asked.dimension is not Dimension.READER:
            return {name: name for name in _in_order(groups)}
        ids = [int(name) for name in groups if name.isdecimal()]
        known = users.names_of(self._session, map(actors.user, ids)) if self._names else {}
        words = {str(user_id): known.get(actors.user(user_id), f"reader {user_id}") for user_id in ids}
        return {name: words.get(name, name) for name in _in_order(groups)}

    def _periods(self, firsts: Sequence[date], last: date, days: Sequence[DayCounts]) -> list[Figures]:
        ends = [*(first - timedelta(days=1) for first in firsts[1:]), last]
        made = []
        for first, end in zip(firsts, ends, strict=True):
            counts = monitoring.added(row for row in days if first <= row.day <= end)
            before = first - timedelta(days=EARLIER_DAYS)
            earlier = _scores(row for row in days if before <= row.day < first)
            made.append(self._figures((first.isoformat(),) * 2, first, end, counts, earlier))
        return made

    def _marked(
        self, periods: Sequence[Figures], days: tuple[date, date, date], withheld: Collection[date]
    ) -> list[Figures]:
        """Say which periods are complete. `days` are the first one ever, the last one that is shown, and today."""
        first_ever, last, today = days
        return [
            replace(
                one,
                is_complete=one.first >= first_ever
                and self._asked.period.last_of(one.first) <= last
                and self._asked.period.last_of(one.first) < today
                and not any(one.first <= day <= one.last for day in withheld),
            )
            for one in periods
        ]

    def _groups(
        self, rows: Sequence[DayCounts], names: Mapping[str, str], first: date, last: date
    ) -> list[Figures]:
        of_groups: dict[str, list[DayCounts]] = defaultdict(list)
        for row in self._of_model(rows):
            of_groups[row.group.name].append(row)
        return [
            self._figures(
                (name, names[name]),
                first,
                last,
                monitoring.added(of_groups[name]),
                is_reader=self._of_readers,
            )
            for name in names
            if name in of_groups
        ]

    @property
    def _of_readers(self) -> bool:
        return self._asked.dimension is Dimension.READER

    def _figures(
        self,
        called: tuple[str, str],
        first: date,
        last: date,
        counts: Counts,
        earlier: Bins | None = None,
        *,
        is_reader: bool | None = None,
    ) -> Figures:
        if _is_small(counts):
            return Figures(*called, first, last, is_small=True)
        judged = counts.to_read.judged + counts.clear_read.judged
        made = Figures(*called, first, last, counts.images, judged=judged)
        if self._is_reader if is_reader is None else is_reader:
            return replace(made, **_of_reader(counts))
        scores = self._start.expected.scores
        return replace(
            made,
            **_shares(json.dumps(counts.to_json())),
            from_card=None if scores is None else drift.drift_from_shares(counts.scored, scores),
            from_earlier=None if earlier is None else drift.drift(counts.scored, earlier),
        )


def _of_reader(counts: Counts) -> dict[str, Any]:
    """Return the figures of the images that one person read last. The others need all images, or the drawn ones."""
    unknown = Estimate(None, why_not=_NO_SAMPLE_OF_READERS)
    made = dict.fromkeys(SHARES, unknown)
    return made | {"overridden": estimates.override_rate(counts), "ppv": estimates.ppv(counts)}


def _check_group(session: Session, asked: Asked) -> None:
    """Raise LookupError, which names the groups, unless images are counted in the group or may be."""
    fixed: Mapping[Dimension, Collection[str]] = {Dimension.AGE: AGES, Dimension.SIZE: SIZES}
    if asked.group in {EVERYTHING, UNKNOWN, *fixed.get(asked.dimension, ())}:
        return
    groups = monitoring.groups(session, asked.dimension)
    if asked.group not in groups:
        known = ", ".join(_in_order({*groups, *fixed.get(asked.dimension, ())})) or "none yet"
        raise LookupError(f"there is no group {asked.group} by {asked.dimension.value}; there are: {known}")


def _chosen(registered: Sequence[RegisteredModel], model_id: int | None) -> RegisteredModel | None:
    if model_id is None:
        return registered[0] if registered else None
    for one in registered:
        if one.model.id == model_id:
            return one
    raise LookupError(f"there is no model {model_id}")


def _expected(chosen: RegisteredModel | None) -> Expected:
    """Return what the card of a model expects at the operating point in force."""
    row = chosen.operating_point if chosen else None
    if chosen is None or row is None:
        return Expected()
    card = read_card(chosen.model.card)
    flagged = next((point.flagged_share for point in operating_points(card) if _is_at(point, row)), None)
    has_groups = chosen.has_groups
    return Expected(row.name, None if has_groups else flagged, expected_scores(card), has_groups)


def _is_at(point: Point, row: OperatingPointRow) -> bool:
    numbers = ("name", "threshold", "band_low", "band_high")
    return all(getattr(point, name) == getattr(row, name) for name in numbers)


def expected_scores(card: Card) -> list[float] | None:
    """Return the share of scores in each twentieth on the images of the card, from its first curve with thresholds."""
    prevalences = {figures.name: figures.prevalence for figures in figure_sets(card)}
    for name, section in card.curves.items():
        roc, prevalence = section.roc, prevalences.get(name)
        if prevalence is not None and len(roc.threshold) == len(roc.sensitivity) == len(roc.specificity) > 0:
            return drift.expected_shares(roc.threshold, roc.sensitivity, roc.specificity, prevalence)
    return None


def _is_small(counts: Counts) -> bool:
    """Return whether a group is too small to be shown. An empty one tells nothing of anybody."""
    return 0 < counts.images + counts.turned_away < SMALL


def _waits(counts: Counts) -> bool:
    return bool(counts.to_read_unread or any(sample.unread for sample in counts.samples.values()))


def _scores(rows: Iterable[DayCounts]) -> Bins:
    bins = (row.document["scored"] for row in rows if row.document.get("scored"))
    return tuple(map(sum, zip(NO_BINS, *bins, strict=True)))


@lru_cache(maxsize=2_000)
def _shares(document: str) -> Mapping[str, Any]:
    """Return the shares of counts, as the JSON of them. Intervals take time, and most periods never change again."""
    counts = Counts.from_json(json.loads(document))
    rejected = {"rejected": estimates.share_rejected(counts)}
    if counts.images < SMALL:
        return dict.fromkeys(SHARES, _TOO_FEW) | rejected
    return rejected | {
        "flagged": estimates.share_flagged(counts),
        "overridden": estimates.override_rate(counts),
        "sensitivity": estimates.sensitivity(counts),
        "specificity": estimates.specificity(counts),
        "ppv": estimates.ppv(counts),
        "npv": estimates.npv(counts),
        "far": estimates.share_far(counts),
    }


def _in_order(groups: Collection[str]) -> list[str]:
    """Return groups in the order of ages and sizes, else of their names. Everything comes first, and unknown last."""
    places = {name: place for place, name in enumerate((*AGES, *SIZES))}
    return sorted(
        groups,
        key=lambda name: (
            name != EVERYTHING,
            name == UNKNOWN,
            places.get(name, len(places)),
            len(name),
            name,
        ),
    )


def _rejected(whole: Counts) -> list[Rejected]:
    if _is_small(whole):
        return []
    reasons = sorted(whole.rejected.items(), key=lambda reason: (-reason[1], reason[0]))
    return [
        Rejected(reason, images, estimates.share_rejected(whole, reason))
        for reason, images in reasons
        if images
    ]
