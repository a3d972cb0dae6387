"""A simulated hospital with known truth: who comes, how the model scores them, what readers say, day by day.

Each image is drawn by itself, with its group in every dimension, so that the counts of all dimensions belong together.
Nothing is written: `days` gives the counts that the monitor would make from a ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.monitor.counts import BINS, Counts, FindingCounts, Judged, Sample

Numbers = NDArray[Any]
Group = tuple[str, str]

# A year from July on has a quiet autumn, a winter, and what happens in spring.
FIRST_DAY = date(2025, 7, 1)
DAYS = 365
IMAGES_A_DAY = 2_740
WEEKDAYS = (1.15, 1.2, 1.2, 1.2, 1.15, 0.6, 0.5)
# Groups and how common they are.
DIMENSIONS: Mapping[str, Mapping[str, float]] = {
    "age band": {"0-17": 0.1, "18-39": 0.2, "40-59": 0.25, "60-74": 0.25, "75+": 0.15, "unknown": 0.05},
    "sex": {"F": 0.48, "M": 0.5, "unknown": 0.02},
    "view": {"PA": 0.6, "AP": 0.35, "unknown": 0.05},
    "source": {"dicom": 0.8, "folder": 0.15, "upload": 0.05},
    "machine": {"A": 0.3, "B": 0.25, "C": 0.2, "D": 0.15, "E": 0.08, "unknown": 0.02},
    "image size": {"4 MP or more": 0.5, "2 to 4 MP": 0.4, "below 2 MP": 0.1},
}
READERS = tuple(f"reader {number}" for number in range(1, 7))
ALL: Group = ("all", "")
PREVALENCE = 0.08
DAYS_VARY = 0.1
# Logits of the scores: mean and standard deviation without and with signs.
WITHOUT_SIGNS, WITH_SIGNS = (-2.4, 1.2), (1.9, 1.6)
BAND_LOW, BAND_HIGH = 0.35, 0.5
DRAWN = 0.05
READER_ERRS, NOT_JUDGED = 0.01, 0.005
# The share of images far from the training data.
FAR = 0.01
REJECTED = {"not_a_chest": 0.01, "on_a_page": 0.005}
_CLEAR, _UNCERTAIN, _FLAGGED = range(3)
_UNREAD, _WITH, _WITHOUT, _NOT_JUDGED = range(4)


@dataclass(frozen=True)
class Plan:
    """What happens in the year. Without anything, the year is quiet.

    Attributes:
        prevalence: the factor of the prevalence on each day.
        scanner: the name of a machine, the day of its replacement, and by how much the logits of its scores then rise.
        failure: a dimension and its group, the day from which the model fails on it, and by how much the logits of its images
            with signs then fall.
        more_far: a dimension and its group, the day from which more of its images are far from the training data, and how many
            times as many.
        days_vary: how much the share with signs, and that of far images, vary from day to day: the standard deviation of their
            logarithms.
    """

    days_vary: float = DAYS_VARY
    prevalence: Numbers = field(default_factory=lambda: np.ones(DAYS))
    scanner: tuple[str, int, float] | None = None
    failure: tuple[Group, int, float] | None = None
    more_far: tuple[Group, int, float] | None = None


QUIET = Plan()


def day(text: str) -> int:
    """Return the place of a date in the year."""
    return (date.fromisoformat(text) - FIRST_DAY).days


def eventful() -> Plan:
    """Return the year in which everything happens: a winter, a new scanner, more far images, a group on which the model fails."""
    # Twice as many from mid-December to mid-February; two weeks up, two weeks down.
    middle = [day("2025-12-01"), day("2025-12-15"), day("2026-02-15"), day("2026-02-28")]
    winter = 1 + np.interp(np.arange(DAYS), middle, [0.0, 1.0, 1.0, 0.0])
    return Plan(
        prevalence=winter,
        scanner=("A", day("2026-03-01"), 0.6),
        more_far=(("source", "folder"), day("2026-04-01"), 3.0),
        failure=(("age band", "75+"), day("2026-05-01"), -2.0),
    )


@dataclass(frozen=True)
class Year:
    """The images of a year: an array each, with one element an image. Rejected ones have no score.

    Attributes:
        day: place of the day.
        groups: place of the group in each dimension.
        has_signs: the truth.
        score: 0 to 1.
        far: whether the image is far from the training data. Then it is never clear.
        verdict, drawn, finding, reader: what became of the image.
        reason: place of the reason for which it was rejected, or -1.
    """

    day: Numbers
    groups: Mapping[str, Numbers]
    has_signs: Numbers
    score: Numbers
    far: Numbers
    verdict: Numbers
    drawn: Numbers
    finding: Numbers
    reader: Numbers
    reason: Numbers


def simulate(random: np.random.Generator, plan: Plan = QUIET, images_a_day: float = IMAGES_A_DAY) -> Year:
    """Draw the images of a year."""
    weekdays = np.array([WEEKDAYS[(FIRST_DAY + timedelta(number)).weekday()] for number in range(DAYS)])
    arrivals = random.poisson(images_a_day * weekdays / np.mean(WEEKDAYS))
    days = np.repeat(np.arange(DAYS), arrivals)
    groups = {
        name: random.choice(len(shares), size=len(days), p=list(shares.values())).astype(np.int8)
        for name, shares in DIMENSIONS.items()
    }
    usual = PREVALENCE * plan.prevalence * np.exp(random.normal(0, plan.days_vary, DAYS))
    has_signs = random.random(len(days)) < usual[days]
    score = 1 / (1 + np.exp(-_logits(random, plan, days, groups, has_signs)))
    far = _far(random, plan, days, groups)
    verdict = np.where(score >= BAND_HIGH, _FLAGGED, np.where((score >= BAND_LOW) | far, _UNCERTAIN, _CLEAR))
    drawn = (verdict == _CLEAR) & (random.random(len(days)) < DRAWN)
    is_read = (verdict != _CLEAR) | drawn
    says_signs = has_signs ^ (random.random(len(days)) < READER_ERRS)
    finding = np.where(says_signs, _WITH, _WITHOUT)
    finding[random.random(len(days)) < NOT_JUDGED] = _NOT_JUDGED
    finding[~is_read] = _UNREAD
    edges = np.cumsum(list(REJECTED.values()))
    reason = np.searchsorted(edges, random.random(len(days)), side="right")
    reason[reason == len(edges)] = -1
    reader = random.integers(0, len(READERS), len(days))
    return Year(days, groups, has_signs, score, far, verdict, drawn, finding, reader, reason)


def _logits(
    random: np.random.Generator, plan: Plan, days: Numbers, groups: Mapping[str, Numbers], has_signs: Numbers
) -> Numbers:
    (mean, spread), (signs_mean, signs_spread) = WITHOUT_SIGNS, WITH_SIGNS
    noise = random.standard_normal(len(days))
    logits = np.where(has_signs, signs_mean + signs_spread * noise, mean + spread * noise)
    if plan.scanner is not None:
        name, since, shift = plan.scanner
        logits += shift * ((groups["machine"] == _place("machine", name)) & (days >= since))
    if plan.failure is not None:
        (dimension, name), since, shift = plan.failure
        logits += shift * (has_signs & (groups[dimension] == _place(dimension, name)) & (days >= since))
    return logits


def _far(random: np.random.Generator, plan: Plan, days: Numbers, groups: Mapping[str, Numbers]) -> Numbers:
    # Numbers of their own: all others are those that the same seed gave before models said the distance.
    (own,) = random.spawn(1)
    share = (FAR * np.exp(own.normal(0, plan.days_vary, DAYS)))[days]
    if plan.more_far is not None:
        (dimension, name), since, times = plan.more_far
        share = np.where(
            (groups[dimension] == _place(dimension, name)) & (days >= since), times * share, share
        )
    return own.random(len(days)) < share


def _place(dimension: str, name: str) -> int:
    return list(DIMENSIONS[dimension]).index(name)


def counts_of(year: Year) -> dict[Group, dict[date, Counts]]:
    """Count the images of a year by day and group, as the monitor does from the ledger."""
    nothing = np.zeros(len(year.day), dtype=np.int8)
    of_group = {ALL: _counted(year, nothing, 1)[0]}
    for dimension, shares in DIMENSIONS.items():
        counted = _counted(year, year.groups[dimension], len(shares))
        of_group |= {(dimension, name): counted[place] for place, name in enumerate(shares)}
    readings = _readings(year)
    return of_group | {("reader", name): readings[place] for place, name in enumerate(READERS)}


def _counted(year: Year, group: Numbers, groups: int) -> list[dict[date, Counts]]:
    cell = group.astype(np.int64) * DAYS + year.day
    scored = year.reason < 0
    bins = np.minimum(BINS - 1, (year.score * BINS).astype(np.int64))
    kinds = (year.verdict * 2 + year.drawn) * 4 + year.finding
    by_score = _tally(groups, (cell, BINS), (bins, scored))
    by_kind = _tally(groups, (cell, 24), (kinds, scored)).reshape(groups, DAYS, 3, 2, 4)
    judged = _judged(year, groups, cell, bins, scored)
    reasons = _tally(groups, (cell, len(REJECTED)), (year.reason, ~scored))
    far = _tally(groups, (cell, 2), (year.far.astype(np.int64), scored))[..., 1]
    return [
        {
            FIRST_DAY + timedelta(number): _counts(
                by_score[place, number],
                by_kind[place, number],
                judged[place, number],
                reasons[place, number],
                int(far[place, number]),
            )
            for number in range(DAYS)
        }
        for place in range(groups)
    ]


def _judged(year: Year, groups: int, cell: Numbers, bins: Numbers, scored: Numbers) -> Numbers:
    """Count judged images by whether they are a drawn clear one, by finding and by score."""
    is_judged = scored & ((year.finding == _WITH) | (year.finding == _WITHOUT))
    kind = ((year.verdict == _CLEAR) * 2 + (year.finding == _WITHOUT)) * BINS + bins
    return _tally(groups, (cell, 4 * BINS), (kind, is_judged)).reshape(groups, DAYS, 2, 2, BINS)


def _tally(groups: int, cells: tuple[Numbers, int], kinds: tuple[Numbers, Numbers]) -> Numbers:
    """Count images by group, day and kind."""
    (cell, size), (kind, counts) = cells, kinds
    tally = np.bincount(cell[counts] * size + kind[counts], minlength=groups * DAYS * size)
    return tally.reshape(groups, DAYS, size)


def _counts(by_score: Numbers, by_kind: Numbers, judged: Numbers, reasons: Numbers, far: int) -> Counts:
    verdicts = by_kind.sum(axis=(1, 2)).tolist()
    read = by_kind.tolist()
    clear = Sample(
        clear=verdicts[_CLEAR],
        read=FindingCounts(*read[_CLEAR][1][1:]),
        by_score=Judged(*map(tuple, judged[1].tolist())),
    )
    return Counts(
        scored=tuple(by_score.tolist()),
        flagged=verdicts[_FLAGGED],
        uncertain=verdicts[_UNCERTAIN],
        clear=verdicts[_CLEAR],
        rejected={name: int(number) for name, number in zip(REJECTED, reasons, strict=True) if number},
        flagged_read=FindingCounts(*read[_FLAGGED][0][1:]),
        uncertain_read=FindingCounts(*read[_UNCERTAIN][0][1:]),
        to_read_by_score=Judged(*map(tuple, judged[0].tolist())),
        samples={str(DRAWN): clear} if clear.clear else {},
        measured=int(by_score.sum()),
        far=far,
    )


def _readings(year: Year) -> list[dict[date, Counts]]:
    """Count what each reader has read: readings only, because the other images belong to nobody."""
    cell = year.reader.astype(np.int64) * DAYS + year.day
    kinds = year.verdict * 4 + year.finding
    is_read = (year.reason < 0) & (year.finding != _UNREAD)
    read = _tally(len(READERS), (cell, 12), (kinds, is_read)).reshape(len(READERS), DAYS, 3, 4)
    return [
        {
            FIRST_DAY + timedelta(number): Counts(
                flagged_read=FindingCounts(*of_day[_FLAGGED][1:]),
                uncertain_read=FindingCounts(*of_day[_UNCERTAIN][1:]),
                clear_read_undrawn=FindingCounts(*of_day[_CLEAR][1:]),
            )
            for number, of_day in enumerate(days.tolist())
        }
        for days in read
    ]
