"""Alerts name what changed, since when, and its cause; where the readings do not tell, the cause is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from bench.hospital import Mix, draw
from worker.monitor.alerts import Alert, Group, alerts, need_attention, series_watched
from worker.monitor.causes import Cause, cause_of
from worker.monitor.counts import BINS, Counts, FindingCounts, Sample
from worker.monitor.figures import Figure, all_series, is_read

FIRST, DAYS, CHANGED = date(2026, 1, 1), 150, 90
ALL = ("all", "")
USUAL = Mix("usual", 2_000, prevalence=0.1, sensitivity=0.9, specificity=0.93, drawn=(0.2,))


def days_of(before: Mix, after: Mix, seed: int = 1, *, unread: bool = False) -> dict[date, Counts]:
    random = np.random.default_rng(seed)
    counts = {}
    for number in range(DAYS):
        of_day = with_scores(random, draw(random, before if number < CHANGED else after))
        counts[FIRST + timedelta(number)] = as_unread(of_day) if unread and number >= CHANGED else of_day
    return counts


def with_scores(random: np.random.Generator, counts: Counts) -> Counts:
    """Put clear images among the low scores, and flagged ones at the top."""
    low = random.multinomial(counts.clear, [0.2] * 5).tolist()
    return replace(counts, scored=(*low, *(0,) * (BINS - 6), counts.flagged))


def as_unread(counts: Counts) -> Counts:
    samples = {
        share: Sample(sample.clear, unread=sample.read.read) for share, sample in counts.samples.items()
    }
    return replace(counts, flagged_read=FindingCounts(), to_read_unread=counts.flagged, samples=samples)


def raised(groups: Mapping[Group, Mapping[date, Counts]]) -> list[Alert]:
    return alerts(groups, FIRST, FIRST + timedelta(DAYS - 1))


def of(found: list[Alert], figure: Figure) -> Alert:
    (alert,) = (one for one in found if one.figure == figure)
    return alert


def test_a_quiet_time_raises_nothing() -> None:
    assert raised({ALL: days_of(USUAL, USUAL)}) == []


def test_another_prevalence_is_told_from_another_model() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, prevalence=0.2))})
    assert {one.figure for one in found} == {Figure.FLAGGED, Figure.FOUND}
    assert {one.cause for one in found} == {Cause.PATIENTS}
    assert all(one.rose and (one.since - FIRST).days == CHANGED for one in found)
    assert "the model works as before" in of(found, Figure.FLAGGED).sentence


def test_more_false_alarms_are_the_model_or_its_images() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, specificity=0.85))})
    alert = of(found, Figure.SPECIFICITY)
    assert (alert.rose, alert.cause, alert.z < 0) == (False, Cause.MODEL, True)
    assert alert.before.value == pytest.approx(0.93, abs=0.01)
    assert alert.now.value == pytest.approx(0.85, abs=0.01)
    assert of(found, Figure.FLAGGED).cause == Cause.MODEL


def test_more_far_images_are_told_by_themselves() -> None:
    days = days_of(USUAL, USUAL)
    for number, day in enumerate(days):
        days[day] = replace(days[day], measured=1_000, far=10 if number < CHANGED else 30)
    (alert,) = raised({ALL: days, ("source", "folder"): days_of(USUAL, USUAL)})
    assert (alert.figure, alert.group, alert.rose, alert.since) == (
        Figure.FAR,
        "",
        True,
        FIRST + timedelta(CHANGED),
    )
    assert "images far from the training data rose" in alert.sentence
    assert "machines and their settings, may have changed" in alert.sentence
    assert (alert.before.value, alert.now.value) == (0.01, 0.03)
    (series,) = (one for one in all_series(list(days.values())) if one.figure == Figure.FAR)
    assert set(series.trials) == {1_000}, "of the other images, the model says no distance"


def test_a_model_that_does_not_say_the_distance_has_no_series_of_it() -> None:
    days = list(days_of(USUAL, USUAL).values())
    assert Figure.FAR not in {series.figure for series in all_series(days)}


def test_a_model_that_misses_more_is_seen_in_the_sample() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, sensitivity=0.6))})
    alert = of(found, Figure.SENSITIVITY)
    assert (alert.rose, alert.cause) == (False, Cause.MODEL)
    assert alert.now.value == pytest.approx(0.6, abs=0.06)
    assert alert.now.sampled


def test_a_model_that_finds_more_is_no_other_prevalence() -> None:
    poor = replace(USUAL, sensitivity=0.5)
    found = raised({ALL: days_of(poor, USUAL)})
    assert Cause.PATIENTS not in {one.cause for one in found}
    assert of(found, Figure.FOUND).cause == Cause.MODEL


def test_readers_who_err_do_not_make_another_prevalence_the_models() -> None:
    """By readers who take 3 of 100 images without signs for such with them, the sensitivity rises by 12 points."""
    before = replace(USUAL, prevalence=0.08, readers_err=0.03)
    found = raised({ALL: days_of(before, replace(before, prevalence=0.16))})
    assert of(found, Figure.FLAGGED).cause == Cause.PATIENTS
    assert of(found, Figure.SENSITIVITY).rose


def test_a_changed_sensitivity_is_the_models_by_itself() -> None:
    assert cause_of(Figure.SENSITIVITY, [], 0, 50, 100) == Cause.MODEL
    assert cause_of(Figure.FLAGGED, [], 0, 50, 100) == Cause.UNDECIDED


def test_without_readings_the_cause_is_undecided() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, prevalence=0.2), unread=True)})
    assert [(one.figure, one.cause) for one in found] == [(Figure.FLAGGED, Cause.UNDECIDED)]
    assert "undecided" in found[0].sentence


def test_without_a_sample_another_prevalence_is_undecided() -> None:
    """A model that finds more images with signs would look the same."""
    unsampled = replace(USUAL, drawn=(0.0,))
    found = raised({ALL: days_of(unsampled, replace(unsampled, prevalence=0.2))})
    assert {one.cause for one in found} == {Cause.UNDECIDED}
    assert Figure.SENSITIVITY not in {one.figure for one in found}


def test_both_may_change_at_once() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, prevalence=0.25, specificity=0.8))})
    assert of(found, Figure.FLAGGED).cause == Cause.BOTH


def test_another_shape_of_low_scores_is_seen_without_readings() -> None:
    days = days_of(USUAL, USUAL, unread=True)
    for day, counts in days.items():
        if (day - FIRST).days >= CHANGED:
            first, *between, last = counts.scored[:5]
            moved = first // 2, *between, last + first - first // 2
            days[day] = replace(counts, scored=(*moved, *counts.scored[5:]))
    (alert,) = raised({ALL: days})
    assert (alert.figure, alert.rose, alert.cause) == (Figure.SCORES, True, Cause.MODEL)


def test_a_change_of_one_group_is_named_with_it() -> None:
    good, bad = days_of(USUAL, USUAL, 2), days_of(USUAL, replace(USUAL, specificity=0.8), 3)
    whole = {day: good[day] + bad[day] for day in good}
    found = raised({ALL: whole, ("machine", "A"): good, ("machine", "B"): bad})
    alert = of(found, Figure.SPECIFICITY)
    assert (alert.dimension, alert.group, alert.also) == ("machine", "B", (ALL,))
    assert "machine B" in alert.sentence


def test_a_change_of_every_group_is_named_once_with_all_images() -> None:
    more = replace(USUAL, prevalence=0.2)
    parts = {("machine", name): days_of(USUAL, more, seed) for seed, name in enumerate("ABC", 4)}
    whole = {day: sum((days[day] for days in parts.values()), Counts.none()) for day in parts["machine", "A"]}
    alert = of(raised({ALL: whole, **parts}), Figure.FLAGGED)
    assert (alert.dimension, len(alert.also)) == ("all", 3)
    assert "all images" in alert.sentence


def test_a_reader_has_overrides_only() -> None:
    def day(overridden: int) -> Counts:
        return Counts(flagged_read=FindingCounts(100 - overridden, overridden))

    random = np.random.default_rng(11)
    days = {
        FIRST + timedelta(number): day(int(random.binomial(100, 0.1 if number < CHANGED else 0.3)))
        for number in range(DAYS)
    }
    (alert,) = raised({("reader", "7"): days})
    assert (alert.figure, alert.rose, alert.cause) == (Figure.OVERRIDES, True, Cause.UNDECIDED)
    assert series_watched({("reader", "7"): days}, FIRST, FIRST + timedelta(DAYS - 1)) == 1


def test_another_share_of_drawn_images_is_no_change_of_the_model() -> None:
    found = raised({ALL: days_of(USUAL, replace(USUAL, drawn=(0.8,)))})
    assert found == []


def test_too_few_days_raise_nothing() -> None:
    days = days_of(USUAL, replace(USUAL, prevalence=0.5))
    assert alerts({ALL: days}, FIRST, FIRST + timedelta(20)) == []
    assert alerts({}, FIRST, FIRST + timedelta(200)) == []


def test_an_alert_needs_attention_for_four_weeks() -> None:
    (alert, *_) = raised({ALL: days_of(USUAL, replace(USUAL, prevalence=0.2))})
    assert need_attention([alert], alert.found + timedelta(28)) == [alert]
    assert need_attention([alert], alert.found + timedelta(29)) == []
    assert need_attention([alert], alert.found - timedelta(1)) == []


def test_days_that_are_hardly_read_count_for_nothing() -> None:
    counts = draw(np.random.default_rng(12), USUAL)
    assert is_read(counts)
    assert not is_read(as_unread(counts))
    figures = {one.figure for one in all_series([as_unread(with_scores(np.random.default_rng(1), counts))])}
    assert figures == {Figure.FLAGGED, Figure.SCORES}
