"""Says in words what has changed, since when, how sure that is, and what may have caused it. Pure.

All series of a page are watched with one limit, so that the whole page raises no more false alarms a year than
`worker.monitor.changes.FALSE_ALARMS_A_YEAR`. Changes of one figure at about the same time in several groups are one alert: of
the group in which the change is clearest, with the names of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from worker.monitor.causes import Cause, cause_of
from worker.monitor.changes import BASELINE_DAYS, Change, changes_of_all, difference, limit, sure
from worker.monitor.counts import Counts, total
from worker.monitor.estimates import SMALL, Estimate
from worker.monitor.figures import Figure, Series, all_series
from worker.monitor.sentences import sentence

# A group of images: a dimension, such as "machine", and its value. All images are the group ("all", "").
Group = tuple[str, str]
ALL, READER = "all", "reader"
# Changes of a figure in several groups are one alert if no more days lie between them.
TOGETHER_DAYS = 21
# A group is named in place of all images only if it changed so many times as much, and about as clearly.
MUCH_MORE, AS_CLEAR, BEYOND_DOUBT = 1.5, 0.7, 10.0
# Changes of several figures that lie no more days apart have one cause.
SETTLING_DAYS = 7
# An alert needs attention for so many days after it was found.
ATTENTION_DAYS = 28


@dataclass(frozen=True)
class Alert:
    """A change of a figure.

    Attributes:
        dimension, group: whose images changed most clearly.
        figure: what changed.
        since: the first day of the change, as estimated.
        found: the day whose counts showed it.
        rose: whether the figure rose.
        before, now: the figure between the change before and this one, and from this one to the next or the last day.
        cause: what explains it.
        sentence: what changed, since when, and why, in words.
        sure: how often chance alone would show such a change.
        z: the size of the change in standard errors, below 0 if the figure fell.
        also: other groups with the same change.
    """

    dimension: str
    group: str
    figure: Figure
    since: date
    found: date
    rose: bool
    before: Estimate
    now: Estimate
    cause: Cause
    sentence: str
    sure: str
    z: float
    also: tuple[Group, ...] = ()


@dataclass(frozen=True)
class _Watched:
    group: Group
    days: Sequence[Counts]
    series: Series
    siblings: Sequence[Series]


def alerts(groups: Mapping[Group, Mapping[date, Counts]], first: date, last: date) -> list[Alert]:
    """Return the alerts of a page, the latest found first.

    Args:
        groups: the counts of each day of each group of one model. A day without counts had no image. A group of the dimension
            `reader` holds what one person has read.
        first: the first day of the series.
        last: the last day whose counts are complete. Today is not.
    """
    days = [first + timedelta(days) for days in range((last - first).days + 1)]
    watched = [one for group, counts in groups.items() for one in _watched(group, counts, days)]
    if not watched or len(days) <= BASELINE_DAYS:
        return []
    found = changes_of_all(
        np.array([one.series.events for one in watched]),
        np.array([one.series.trials for one in watched]),
        limit(len(watched)),
    )
    changed: dict[Group, list[int]] = {}
    for one, places in zip(watched, found, strict=True):
        changed.setdefault(one.group, []).extend(change.since for change in places)
    raised = [
        _alert(_Raised(one, places, place), changed[one.group], days, len(watched))
        for one, places in zip(watched, found, strict=True)
        for place in range(len(places))
    ]
    return sorted(_together(raised), key=lambda alert: (alert.found, abs(alert.z)), reverse=True)


def need_attention(raised: Iterable[Alert], day: date) -> list[Alert]:
    """Return the alerts that were found in the last days before this one."""
    return [alert for alert in raised if 0 <= (day - alert.found).days <= ATTENTION_DAYS]


def series_watched(groups: Mapping[Group, Mapping[date, Counts]], first: date, last: date) -> int:
    """Return how many series the false-alarm rate of a page is shared among."""
    days = [first + timedelta(days) for days in range((last - first).days + 1)]
    return sum(len(_watched(group, counts, days)) for group, counts in groups.items())


def _watched(group: Group, counts: Mapping[date, Counts], days: Sequence[date]) -> list[_Watched]:
    of_days = [counts.get(day, Counts.none()) for day in days]
    series = all_series(of_days, of_reader=group[0] == READER)
    return [_Watched(group, of_days, each, series) for each in series if sum(each.trials) >= SMALL]


@dataclass(frozen=True)
class _Raised:
    """One of the changes that were found in a series."""

    watched: _Watched
    found: Sequence[Change]
    place: int

    @property
    def change(self) -> Change:
        return self.found[self.place]

    @property
    def start(self) -> int:
        """The place of the first day of the time before the change."""
        return self.found[self.place - 1].since if self.place else 0

    @property
    def end(self) -> int:
        """The place after the last day of the change."""
        is_last = self.place + 1 == len(self.found)
        return len(self.watched.days) if is_last else self.found[self.place + 1].since

    @property
    def z(self) -> float:
        """How clear the change is by now, or was on the day on which it was found."""
        series, start, end = self.watched.series, self.start, self.end
        by_now = difference(series.events[start:end], series.trials[start:end], self.change.since - start)
        return max(abs(by_now), abs(self.change.z))


def _alert(raised: _Raised, changed: Sequence[int], days: Sequence[date], series: int) -> Alert:
    """Describe a change. `changed` has the places of all changes of the group, of any figure."""
    watched, change = raised.watched, raised.change
    estimate = watched.series.estimate
    rose = (change.z > 0) != watched.series.falls
    dimension, group = watched.group
    alert = Alert(
        dimension=dimension,
        group=group,
        figure=watched.series.figure,
        since=days[change.since],
        found=days[change.found],
        rose=rose,
        before=estimate(_known(watched, raised.start, change.since)),
        now=estimate(_known(watched, change.since, raised.end)),
        cause=_cause(raised, changed),
        sentence="",
        sure=sure(raised.z, series),
        z=raised.z if rose else -raised.z,
    )
    return replace(alert, sentence=_sentence(alert))


def _cause(raised: _Raised, changed: Sequence[int]) -> Cause:
    """Return what explains a change: what happened to the group at other times must not, if the rest is enough to tell."""
    watched, since = raised.watched, raised.change.since
    start = max((day for day in changed if day < since - SETTLING_DAYS), default=0)
    end = min((day for day in changed if day > since + SETTLING_DAYS), default=len(watched.days))
    figure, siblings = watched.series.figure, watched.siblings
    cause = cause_of(figure, siblings, start, since, end)
    if cause == Cause.UNDECIDED:
        return cause_of(figure, siblings, raised.start, since, raised.end)
    return cause


def _sentence(alert: Alert) -> str:
    return sentence(
        alert.figure,
        (alert.dimension, alert.group),
        alert.since,
        alert.before,
        alert.now,
        alert.cause,
        rose=alert.rose,
    )


def _known(watched: _Watched, start: int, end: int) -> Counts:
    """Add up the days that count for a series: a day that is not read yet has no trials in a series that needs readings."""
    trials = watched.series.trials
    return total(watched.days[day] for day in range(start, end) if trials[day])


def _together(raised: Sequence[Alert]) -> list[Alert]:
    """Join the alerts of one figure, direction and time: the clearest one names the other groups."""
    clusters: list[list[Alert]] = []
    for alert in sorted(raised, key=lambda alert: -abs(alert.z)):
        known = next((cluster for cluster in clusters if _is_same(cluster[0], alert)), None)
        if known is None:
            clusters.append([alert])
        else:
            known.append(alert)
    return [_joined(cluster) for cluster in clusters]


def _joined(cluster: Sequence[Alert]) -> Alert:
    """Return the alert of the group whose change it is: that of all images, or the clearest one that changed much more."""
    of_all = next((alert for alert in cluster if alert.dimension == ALL), None)
    larger = [
        alert
        for alert in cluster
        if of_all is None
        or (_size(alert) >= MUCH_MORE * _size(of_all) and _clearness(alert) >= AS_CLEAR * _clearness(of_all))
    ]
    clearest = max(larger, key=lambda alert: (_clearness(alert), _size(alert)), default=cluster[0])
    chosen = clearest if larger or of_all is None else of_all
    also = dict.fromkeys((alert.dimension, alert.group) for alert in cluster)
    also.pop((chosen.dimension, chosen.group))
    found = min(alert.found for alert in cluster if alert.found >= min(chosen.since, chosen.found))
    return replace(chosen, also=tuple(also), found=found)


def _clearness(alert: Alert) -> float:
    """Return |z| up to where a change is beyond doubt. Larger numbers say more about how much days vary than about the change."""
    return min(abs(alert.z), BEYOND_DOUBT)


def _size(alert: Alert) -> float:
    """Return the difference of a figure."""
    before, now = alert.before.value, alert.now.value
    return 0.0 if before is None or now is None else abs(now - before)


def _is_same(first: Alert, second: Alert) -> bool:
    return (
        first.figure == second.figure
        and first.rose == second.rose
        and abs((first.since - second.since).days) <= TOGETHER_DAYS
    )
