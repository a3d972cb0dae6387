"""The scan finds a change soon, says since when, and hardly ever raises a false alarm. The long form: `python -m bench.hospital`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.monitor.changes import (
    BASELINE_DAYS,
    changes,
    changes_of_all,
    difference,
    false_alarms_a_year,
    limit,
    sure,
)

DAYS = 365


def drawn(
    seed: int, series: int, share: float | NDArray[Any], trials: int = 300, varies: float = 0.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw series of binomial days. `varies`: how much the share of a day does, as the spread of its logarithm."""
    random = np.random.default_rng(seed)
    sizes = random.poisson(trials, (series, DAYS))
    shares = (
        share * np.exp(random.normal(0, varies, (series, DAYS)))
        if varies
        else np.broadcast_to(share, sizes.shape)
    )
    return random.binomial(sizes, np.minimum(1, shares)), sizes


def stepped(before: float, after: float, day: int) -> NDArray[Any]:
    return np.where(np.arange(DAYS) < day, before, after)


@pytest.mark.parametrize("varies", [0.0, 0.1], ids=["binomial", "days vary"])
@pytest.mark.parametrize("share", [0.15, 0.003])
def test_quiet_series_raise_no_more_alarms_than_stated(share: float, varies: float) -> None:
    """1,500 years of one series, at a limit that allows 0.05 a year each: 75."""
    at_least = limit(10, 0.5)
    alarms = sum(map(len, changes_of_all(*drawn(3, 1_500, share, varies=varies), at_least)))
    assert alarms <= 75


def test_the_limit_is_not_idle() -> None:
    """A limit that allows ten alarms a year finds some in a hundred quiet years."""
    assert sum(map(len, changes_of_all(*drawn(4, 100, 0.15), limit(1, 10)))) > 5


def test_more_series_need_a_higher_limit() -> None:
    assert limit(1) < limit(10) < limit(200)
    assert false_alarms_a_year(limit(150), 150) == pytest.approx(0.5)
    assert limit(0) == limit(1)


@pytest.mark.parametrize(("after", "days"), [(0.25, 5), (0.07, 5), (0.19, 28)])
def test_a_change_is_found_within_days(after: float, days: int) -> None:
    """150 series are watched; in nine of ten, the change is found in time, and its first day within a week."""
    found = changes_of_all(*drawn(5, 50, stepped(0.15, after, 200)), limit(150))
    in_time = [of_one[0] for of_one in found if of_one and 200 <= of_one[0].found < 200 + days]
    assert len(in_time) >= 45
    assert sum(abs(change.since - 200) <= 7 for change in in_time) >= 45
    assert all((change.z > 0) == (after > 0.15) for change in in_time)


def test_a_change_of_a_rare_event_is_found() -> None:
    """Two missed images a week become eight."""
    found = changes_of_all(*drawn(6, 50, stepped(0.01, 0.04, 200), trials=28), limit(150))
    assert sum(bool(of_one) and 200 <= of_one[0].found < 245 for of_one in found) >= 45


def test_a_change_and_its_end_are_two_changes() -> None:
    share = np.where((np.arange(DAYS) >= 150) & (np.arange(DAYS) < 250), 0.3, 0.15)
    events, trials = drawn(7, 1, share)
    first, second = changes(events[0].tolist(), trials[0].tolist(), limit(150))
    assert (first.since, second.since) == (150, 250)
    assert (first.z > 0, second.z > 0) == (True, False)
    assert first.after == second.before == (int(events[0, 150:250].sum()), int(trials[0, 150:250].sum()))
    assert first.before == (int(events[0, :150].sum()), int(trials[0, :150].sum()))
    assert second.after == (int(events[0, 250:].sum()), int(trials[0, 250:].sum()))


def test_what_is_found_does_not_depend_on_later_days() -> None:
    events, trials = drawn(8, 1, stepped(0.15, 0.25, 200))
    whole = changes(events[0].tolist(), trials[0].tolist(), limit(150))
    found = whole[0].found
    until = changes(events[0, : found + 1].tolist(), trials[0, : found + 1].tolist(), limit(150))
    assert (until[0].found, until[0].z) == (found, whole[0].z)
    assert changes(events[0, :found].tolist(), trials[0, :found].tolist(), limit(150)) == []


def test_nothing_is_said_before_the_usual_is_known() -> None:
    events, trials = drawn(9, 1, stepped(0.15, 0.5, 10))
    assert changes(events[0, :BASELINE_DAYS].tolist(), trials[0, :BASELINE_DAYS].tolist(), 3.0) == []


def test_days_without_trials_are_no_evidence() -> None:
    events, trials = drawn(10, 1, stepped(0.15, 0.25, 200))
    closed = np.arange(DAYS) % 7 > 4
    events[0, closed] = trials[0, closed] = 0
    (found, *_) = changes(events[0].tolist(), trials[0].tolist(), limit(150))
    assert abs(found.since - 200) <= 3


def test_the_difference_is_the_root_of_the_likelihood_ratio() -> None:
    """60 of 200 after 40 of 200, half an event taken off: 2 (59.5 ln(59.5/50) + ...)."""
    parts = ((59.5, 50), (140.5, 150), (40.5, 50), (159.5, 150))
    by_hand = (2 * sum(count * np.log(count / expected) for count, expected in parts)) ** 0.5
    assert difference([40, 60], [200, 200], 1) == pytest.approx(by_hand)
    assert difference([60, 40], [200, 200], 1) == pytest.approx(-by_hand)
    assert difference([40, 60], [200, 200], 0) == difference([40, 60], [200, 200], 2) == 0


def test_a_day_has_at_most_as_many_events_as_trials() -> None:
    with pytest.raises(ValueError, match="trials"):
        changes([3, 4], [5, 3], 3.0)


def test_words_say_how_often_chance_shows_it() -> None:
    assert sure(limit(150), 150) == "Chance alone would show such a change at most once in 2 years."
    assert "less often than once in 1,000 years" in sure(20, 150)
