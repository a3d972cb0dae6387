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
from worker.monitor.changes import BASELINE_DAYS, Change, changes_of_all, limit, sure
from worker.monitor.counts import Counts, total
from worker.monitor.estimates import SMALL, Estimate
from worker.monitor.figures import Figure, Series, all_series, is_read
from worker.monitor.sentences import sentence

# A group of images: a dimension, such as "machine", and its value. All images are the group ("all", "").
Group = tuple[str, str]
READER = "reader"
# Changes of a figure in several groups are one alert if no more days lie between them.
TOGETHER_DAYS = 14
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
    raised = [
        _alert(one, places, place, days, len(watched))
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


def _alert(
    watched: _Watched, found: Sequence[Change], place: int, days: Sequence[date], series: int
) -> Alert:
    change = found[place]
    start = found[place - 1].since if place else 0
    end = found[place + 1].since if place + 1 < len(found) else len(days)
    estimate = watched.series.estimate
    before = estimate(_known(watched, start, change.since))
    now = estimate(_known(watched, change.since, end))
    rose = (change.z > 0) != watched.series.falls
    # Readings come later than scores: what is known up to the last day explains it best.
    cause = cause_of(watched.siblings, start, change.since, end)
    dimension, group = watched.group
    alert = Alert(
        dimension=dimension,
        group=group,
        figure=watched.series.figure,
        since=days[change.since],
        found=days[change.found],
        rose=rose,
        before=before,
        now=now,
        cause=cause,
        sentence="",
        sure=sure(change.z, series),
        z=abs(change.z) if rose else -abs(change.z),
    )
    return replace(alert, sentence=_sentence(alert))


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
    """Add up the days that count for a series."""
    trials = watched.series.trials
    needs_readings = watched.series.figure in (Figure.PREVALENCE, Figure.SPECIFICITY, Figure.SENSITIVITY)
    return total(
        watched.days[day]
        for day in range(start, end)
        if trials[day] and (not needs_readings or is_read(watched.days[day]))
    )


def _together(raised: Sequence[Alert]) -> list[Alert]:
    """Join the alerts of one figure, direction and time: the clearest one names the other groups."""
    kept: list[Alert] = []
    for alert in sorted(raised, key=lambda alert: -abs(alert.z)):
        for place, known in enumerate(kept):
            if _is_same(known, alert):
                other = alert.dimension, alert.group
                if other != (known.dimension, known.group) and other not in known.also:
                    kept[place] = replace(
                        known, also=(*known.also, other), found=min(known.found, alert.found)
                    )
                break
        else:
            kept.append(alert)
    return kept


def _is_same(first: Alert, second: Alert) -> bool:
    return (
        first.figure == second.figure
        and first.rose == second.rose
        and abs((first.since - second.since).days) <= TOGETHER_DAYS
    )
