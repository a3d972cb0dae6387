"""Finds when a share has changed, day by day: a likelihood-ratio scan with a limit that holds for a whole page. Pure.

A *series* is the number of events and of trials of each day, for example flagged and scored images. On each day, the scan
compares the days since each of several candidate days with all days before, back to the last change that it found. It takes
the signed root of the likelihood ratio of two binomial shares (S. S. Wilks, Annals of Mathematical Statistics 9 (1938), 60-62;
the scan: T. L. Lai, Journal of the Royal Statistical Society B 57 (1995), 613-658; with an unknown share before the change:
D. Siegmund and E. S. Venkatraman, Annals of Statistics 23 (1995), 255-271).

- Half an event is taken off the difference (F. Yates, Supplement to the Journal of the Royal Statistical Society 1 (1934),
  217-235), because few events are no normal variable.
- Days may vary more than by chance, for example by the weekday. The ratio is divided by how much more they did before the
  change (J. A. Nelder and P. McCullagh, Generalized Linear Models (1989), section 4.5).
- The limit follows from how many series are watched. `LOOKS` says how many independent looks at a series the scan has in a
  year; `python -m bench.hospital` measured it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.monitor.special import normal_two_sided

Numbers = NDArray[np.float64]

# A whole page, with all its series, raises at most so many false alarms a year: one in two years.
FALSE_ALARMS_A_YEAR = 0.5
DAYS_A_YEAR = 365
# A series of a year without any change crosses a limit `z` with the probability LOOKS x P(|normal| >= z), or less.
LOOKS = 4_000
# Beyond so many years, the exact number says nothing.
_MOST_YEARS = 1_000
# Days with trials before any alarm, at the beginning and after a change: what was usual must be known first.
BASELINE_DAYS = 28
# The first day of a change is estimated once more with so many days after it was found.
SEEN_AFTERWARDS = 28
# So many trials before and after a change, or nothing is compared.
TRIALS = 10
# A change is looked for so many days back: steps keep the cost low. What lies farther back was found earlier.
LAGS = (1, 2, 3, 4, 6, 8, 11, 15, 21, 28, 40, 56, 80)


@dataclass(frozen=True)
class Change:
    """A change of a share.

    Attributes:
        since: the place of the first day of the new share, as estimated.
        found: the place of the day on which the scan finds it.
        before: events and trials between the change before and this one.
        after: the same from this change to the next one, or to the end.
        z: the signed root of the likelihood ratio on the day on which it was found; above 0 if the share rose.
    """

    since: int
    found: int
    before: tuple[int, int]
    after: tuple[int, int]
    z: float


def limit(series: int, false_alarms_a_year: float = FALSE_ALARMS_A_YEAR) -> float:
    """Return the limit of |z| with which so many series together raise at most so many false alarms a year."""
    chance = min(0.5, false_alarms_a_year / (LOOKS * max(1, series)))
    return NormalDist().inv_cdf(1 - chance / 2)


def false_alarms_a_year(z: float, series: int) -> float:
    """Return how many false alarms a year this limit of |z| gives at most. It is the reverse of `limit`."""
    return LOOKS * max(1, series) * normal_two_sided(z)


def changes(events: Sequence[int], trials: Sequence[int], at_least: float) -> list[Change]:
    """Return the changes of a series, the earliest first.

    Args:
        events: of each day, the earliest first, without a gap. A day without trials is no evidence.
        trials: of each day, at least as many as events.
        at_least: what |z| must reach (`limit`).
    """
    return changes_of_all(np.array([events]), np.array([trials]), at_least)[0]


def changes_of_all(events: NDArray[Any], trials: NDArray[Any], at_least: float) -> list[list[Change]]:
    """Return the changes of each series: the rows of two arrays of the same shape, with a column for each day.

    Raises ValueError if the shapes differ, or a day has more events than trials.
    """
    if events.shape != trials.shape or (events > trials).any() or (events < 0).any():
        raise ValueError("each day needs trials, and at most as many events")
    totals = _Totals.of(np.asarray(events, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    days = events.shape[1]
    found = np.abs(_scan(totals, 0, days)).max(axis=0) >= at_least if days else np.zeros(events.shape, bool)
    return [
        _of_one(totals.row(row), days, at_least) if found[row].any() else [] for row in range(len(events))
    ]


def difference(events: Sequence[int], trials: Sequence[int], since: int) -> float:
    """Return z for the days from `since` on against those before. It is 0 where too little is known."""
    if not 0 < since < len(events):
        return 0.0
    totals = _Totals.of(np.array([events], dtype=np.float64), np.array([trials], dtype=np.float64))
    return float(_z(totals, 0, np.array([since]), np.array([len(events)]), baseline=0)[0, 0])


@dataclass(frozen=True)
class _Totals:
    """Sums from the first day up to each day, with a column of zeros before the first: events, trials, events squared / trials."""

    events: Numbers
    trials: Numbers
    squares: Numbers
    days: Numbers

    @classmethod
    def of(cls, events: Numbers, trials: Numbers) -> _Totals:
        seen = trials > 0
        squares = np.divide(events * events, trials, out=np.zeros_like(events), where=seen)
        parts = (events, trials, squares, seen.astype(np.float64))
        nothing = np.zeros((len(events), 1))
        return cls(*(np.hstack([nothing, part.cumsum(axis=1)]) for part in parts))

    def row(self, place: int) -> _Totals:
        only = slice(place, place + 1)
        return _Totals(self.events[only], self.trials[only], self.squares[only], self.days[only])


def _of_one(totals: _Totals, days: int, at_least: float) -> list[Change]:
    """Find the changes of one series, each from the one before on."""
    found: list[tuple[int, float]] = []
    first = 0
    while True:
        scanned = np.abs(_scan(totals, first, days)[:, 0, :]).max(axis=0)
        alarms = np.flatnonzero(scanned >= at_least)
        if not len(alarms):
            break
        day = first + int(alarms[0])
        first, z = _best(totals, first, day, day)
        found.append((day, z))
    return _described(totals, found, days)


def _described(totals: _Totals, found: Sequence[tuple[int, float]], days: int) -> list[Change]:
    """Estimate the first day of each change once more, with the days after it was found, and count events and trials."""
    starts = [0]
    for place, (day, _) in enumerate(found):
        following = found[place + 1][0] if place + 1 < len(found) else days
        until = max(day, min(day + SEEN_AFTERWARDS, following - 1))
        starts.append(_best(totals, starts[-1], day, until)[0])
    between = [_sums(totals, start, end) for start, end in itertools.pairwise([*starts, days])]
    return [
        Change(starts[place + 1], day, between[place], between[place + 1], z)
        for place, (day, z) in enumerate(found)
    ]


def _sums(totals: _Totals, start: int, end: int) -> tuple[int, int]:
    both = (part[0, end] - part[0, start] for part in (totals.events, totals.trials))
    events, trials = (round(number) for number in both)
    return events, trials


def _scan(totals: _Totals, first: int, days: int) -> Numbers:
    """Return z for each lag, series and day from `first` on; 0 where too little is known."""
    z = np.zeros((len(LAGS), len(totals.events), max(0, days - first)))
    for place, lag in enumerate(LAGS):
        start = BASELINE_DAYS + lag - 1
        if first + start < days:
            last = np.arange(first + start, days)
            z[place, :, start:] = _z(totals, first, last + 1 - lag, last + 1)
    return z


def _best(totals: _Totals, first: int, day: int, until: int) -> tuple[int, float]:
    """Return since when, up to a day, the share differs most, as seen on the day `until`, and z.

    The likelihood alone decides on the day: how much earlier days vary depends on the candidate.
    """
    since = np.arange(min(day, max(first + BASELINE_DAYS, day + 1 - LAGS[-1])), day + 1)
    end = np.full_like(since, until + 1)
    best = int(np.argmax(np.abs(_signed_ratio(totals, first, since, end, BASELINE_DAYS)[0])))
    z = _z(totals, first, since[[best]], end[[best]])
    return int(since[best]), float(z[0, 0])


def _z(
    totals: _Totals,
    first: int,
    since: NDArray[Any],
    end: NDArray[Any],
    *,
    baseline: int = BASELINE_DAYS,
) -> Numbers:
    """Return the signed root of the likelihood ratio of the days from `since` to `end` against those from `first` to `since`."""
    ratio = _signed_ratio(totals, first, since, end, baseline)
    z: Numbers = np.sign(ratio) * np.sqrt(_without_dispersion(np.abs(ratio), totals, first, since))
    return z


def _signed_ratio(
    totals: _Totals, first: int, since: NDArray[Any], end: NDArray[Any], baseline: int
) -> Numbers:
    """Return the likelihood ratio, below 0 if the share fell, and 0 where too little is known."""
    before_events, before, days = _between(totals, first, since)
    after_events, after, _ = _between(totals, since, end)
    events, trials = before_events + after_events, before + after
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = events * after / trials
        difference = after_events - expected
        corrected = np.sign(difference) * np.maximum(0, np.abs(difference) - 0.5)
        here = expected + corrected
        ratio = 2 * (
            _log_likelihood(here, after)
            + _log_likelihood(events - here, before)
            - _log_likelihood(events, trials)
        )
    is_enough = (days >= baseline) & (before >= TRIALS) & (after >= TRIALS)
    return np.where(is_enough, np.sign(corrected) * np.maximum(0, ratio), 0.0)


def _between(
    totals: _Totals, first: int | NDArray[Any], end: NDArray[Any]
) -> tuple[Numbers, Numbers, Numbers]:
    """Return events, trials, and days with trials, from `first` to before `end`."""
    start = np.atleast_1d(first)
    events, trials, days = (
        part[:, end] - part[:, start] for part in (totals.events, totals.trials, totals.days)
    )
    return events, trials, days


def _log_likelihood(events: Numbers, trials: Numbers) -> Numbers:
    """Return the log-likelihood of binomial shares at their maximum."""
    rest = trials - events
    known = np.where(events > 0, events * np.log(events / trials), 0.0)
    return known + np.where(rest > 0, rest * np.log(rest / trials), 0.0)


def _without_dispersion(ratio: Numbers, totals: _Totals, first: int, since: NDArray[Any]) -> Numbers:
    """Divide the ratio by how many times the days before the change vary as much as by chance, if more than once.

    That number is Pearson's statistic, an estimate from a limited number of days. So the quotient follows Student's
    distribution, and is turned into a normal variable (D. L. Wallace, Annals of Mathematical Statistics 30 (1959), 1124-1130).
    """
    events, trials, days = _between(totals, first, since)
    squares = totals.squares[:, since] - totals.squares[:, [first]]
    degrees = days - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        share = events / trials
        dispersion = (squares - events * share) / (share * (1 - share)) / degrees
        factor = ((8 * degrees + 1) / (8 * degrees + 3)) ** 2
        divided = factor * degrees * np.log1p(ratio / dispersion / degrees)
    return np.where((degrees > 0) & (dispersion > 1), divided, ratio)


def sure(z: float, series: int) -> str:
    """Return words for how often chance alone would show such a change on a page with so many series."""
    years = 1 / max(false_alarms_a_year(z, series), 1e-9)
    if years >= _MOST_YEARS:
        return "Chance alone would show such a change less often than once in 1,000 years."
    return f"Chance alone would show such a change at most once in {math.floor(years + 1e-6):,} years."
