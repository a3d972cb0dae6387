"""Measures the monitor on a simulated hospital with known truth: `python -m bench.hospital`, or a part of it.

- *quiet*: years without any change. How many false alarms does the whole page raise a year?
- *eventful*: years with a winter, a new scanner, a source with more images far from the training data, and a group on which the
  model fails. After how many days is each found?
- *coverage*: groups of images of several sizes, drawn many times. How often do the intervals of 95 % hold the truth?

It exits with 1 if a promise of docs/monitoring.md is not kept. Progress goes to stderr.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Any

import click
import numpy as np

from bench.simulated_hospital import (
    ALL,
    DAYS,
    DAYS_VARY,
    FIRST_DAY,
    IMAGES_A_DAY,
    Group,
    Plan,
    counts_of,
    eventful,
    simulate,
)
from worker.monitor import estimates
from worker.monitor.alerts import Alert, alerts, series_watched
from worker.monitor.causes import Cause
from worker.monitor.changes import FALSE_ALARMS_A_YEAR
from worker.monitor.counts import NO_BINS, Counts, FindingCounts, Sample
from worker.monitor.estimates import Estimate
from worker.monitor.figures import Figure
from worker.progress import progress

Document = dict[str, Any]
# A change is the planted one if it is estimated to begin so many days around it.
NEAR = 28
# What each end of an interval of 95 % leaves out.
_TAIL = 0.025
LAST_DAY = FIRST_DAY + timedelta(DAYS - 1)


@dataclass(frozen=True)
class Planted:
    """A change that was planted.

    Attributes:
        name: what it is.
        since: its first day.
        group: the group of images in which it must be seen.
        figures: the figures of which one must change.
        rose: whether they rise; None if they may do both.
        causes: what the monitor may name as the cause.
        within: days after which nine in ten years must have found it (docs/monitoring.md).
    """

    name: str
    since: date
    group: Group
    figures: Sequence[Figure]
    rose: bool | None
    causes: Sequence[Cause]
    within: int


PLANTED = (
    Planted(
        "twice as many patients with signs, over two weeks",
        date(2025, 12, 1),
        ALL,
        (Figure.FLAGGED, Figure.FOUND),
        rose=True,
        causes=(Cause.PATIENTS,),
        within=14,
    ),
    Planted(
        "as many as before, over two weeks",
        date(2026, 2, 15),
        ALL,
        (Figure.FLAGGED, Figure.FOUND),
        rose=False,
        causes=(Cause.PATIENTS, Cause.BOTH),
        within=14,
    ),
    Planted(
        "a scanner was replaced",
        date(2026, 3, 1),
        ("machine", "A"),
        (Figure.SPECIFICITY, Figure.SCORES),
        rose=None,
        causes=(Cause.MODEL, Cause.BOTH),
        within=3,
    ),
    Planted(
        "three times as many images of a source are far from the training data",
        date(2026, 4, 1),
        ("source", "folder"),
        (Figure.FAR,),
        rose=True,
        # It is told by itself: whether patients or machines changed, nobody can see in it.
        causes=tuple(Cause),
        within=7,
    ),
    Planted(
        "the model fails on a group: any sign of it",
        date(2026, 5, 1),
        ("age band", "75+"),
        (Figure.FLAGGED, Figure.FOUND, Figure.SENSITIVITY),
        rose=False,
        causes=(Cause.MODEL, Cause.BOTH),
        within=21,
    ),
    Planted(
        "the model fails on a group: its sensitivity",
        date(2026, 5, 1),
        ("age band", "75+"),
        (Figure.SENSITIVITY,),
        rose=False,
        causes=(Cause.MODEL, Cause.BOTH),
        within=60,
    ),
)


def quiet(random: np.random.Generator, years: int, images_a_day: float, days_vary: float) -> Document:
    """Count the alarms of years without any change."""
    raised: list[Alert] = []
    series = 0
    with progress(years, "Quiet years") as advance:
        for _ in range(years):
            counts = counts_of(simulate(random, Plan(days_vary=days_vary), images_a_day))
            raised += alerts(counts, FIRST_DAY, LAST_DAY)
            series = series or series_watched(counts, FIRST_DAY, LAST_DAY)
            advance(1)
    number = len(raised)
    # The exact upper limit of a Poisson rate, two-sided 95 %: F. Garwood, Biometrika 28 (1936), 437-442.
    return {
        "years": years,
        "images_a_day": images_a_day,
        "days_vary": days_vary,
        "series": series,
        "false_alarms": number,
        "false_alarms_a_year": number / years,
        "false_alarms_a_year_at_most": _poisson_upper(number) / years,
        "stated": FALSE_ALARMS_A_YEAR,
        "by_figure": Counter(alert.figure.value for alert in raised),
    }


def events(random: np.random.Generator, years: int, images_a_day: float) -> list[Document]:
    """Say after how many days each planted change is found, and how often its cause is named."""
    plan = eventful()
    found: dict[str, list[_Found]] = {planted.name: [] for planted in PLANTED}
    others = 0
    with progress(years, "Eventful years") as advance:
        for _ in range(years):
            counts = counts_of(simulate(random, plan, images_a_day))
            raised = alerts(counts, FIRST_DAY, LAST_DAY)
            others += sum(not _is_explained(alert) for alert in raised)
            for planted in PLANTED:
                found[planted.name] += _found(planted, counts, raised)
            advance(1)
    documents = [_document(planted, found[planted.name], years) for planted in PLANTED]
    return [*documents, {"name": "alarms far from any planted change", "a_year": others / years}]


@dataclass(frozen=True)
class _Found:
    """After how many days a planted change was found, and its cause as named a week later and at the end of the year."""

    days: int
    after_a_week: Cause
    at_the_end: Cause


def _found(
    planted: Planted, counts: Mapping[Group, Mapping[date, Counts]], raised: Sequence[Alert]
) -> list[_Found]:
    first = _first(planted, raised)
    if first is None:
        return []
    a_week_later = min(LAST_DAY, first.found + timedelta(7))
    early = _first(planted, alerts(counts, FIRST_DAY, a_week_later))
    # The counts of a day are complete on the next one.
    days = (first.found - planted.since).days + 1
    return [_Found(days, early.cause if early else Cause.UNDECIDED, first.cause)]


def _first(planted: Planted, raised: Sequence[Alert]) -> Alert | None:
    of_planted = (alert for alert in raised if _is_of(planted, alert))
    return min(of_planted, key=lambda alert: alert.found, default=None)


def _document(planted: Planted, found: Sequence[_Found], years: int) -> Document:
    days = sorted(one.days for one in found)
    in_time = sum(number <= planted.within for number in days)
    nine_in_ten = math.ceil(0.9 * years)
    return {
        "name": planted.name,
        "years": years,
        "found": len(days),
        "days_median": median(days) if days else None,
        "days_nine_in_ten": days[nine_in_ten - 1] if len(days) >= nine_in_ten else None,
        "days_most": days[-1] if days else None,
        "promised_days": planted.within,
        "causes_after_a_week": dict(Counter(one.after_a_week.value for one in found)),
        "causes": dict(Counter(one.at_the_end.value for one in found)),
        "causes_right": sum(one.at_the_end in planted.causes for one in found),
        "kept": in_time >= nine_in_ten,
    }


def _is_of(planted: Planted, alert: Alert) -> bool:
    of_group = planted.group == (alert.dimension, alert.group) or planted.group in alert.also
    is_like = alert.figure in planted.figures and planted.rose in (None, alert.rose)
    return (
        of_group
        and is_like
        and alert.found >= planted.since
        and abs((alert.since - planted.since).days) <= NEAR
    )


def _is_explained(alert: Alert) -> bool:
    """Tell whether an alert begins near a planted change. A slow one is one change, and its end is another."""
    return any(abs((alert.since - planted.since).days) <= NEAR for planted in PLANTED)


def _poisson_upper(number: int) -> float:
    """Return the mean of which a Poisson variable is `number` or less with probability 2.5 %."""
    low, high = float(number), number + 20 * (1 + math.sqrt(number))
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(
            math.exp(count * math.log(middle) - middle - math.lgamma(count + 1))
            for count in range(number + 1)
        )
        low, high = (middle, high) if tail > _TAIL else (low, middle)
    return high


@dataclass(frozen=True)
class Mix:
    """A group of images to draw many times.

    Attributes:
        name: what is special about it.
        images: how many.
        prevalence, sensitivity, specificity: the truth.
        drawn: the share of clear images that is drawn; two of them if it changed after half of the images.
        unread: the share of flagged images that nobody has read yet.
        readers_err: how often a reader takes signs for none, or none for signs.
    """

    name: str
    images: int
    prevalence: float = 0.08
    sensitivity: float = 0.94
    specificity: float = 0.93
    drawn: Sequence[float] = (0.05,)
    unread: float = 0.0
    readers_err: float = 0.0


MIXES = (
    Mix("a small group", 200),
    Mix("a small group with many signs", 200, prevalence=0.5, drawn=(0.1,)),
    Mix("a thousand images", 1_000),
    Mix("a day", 2_740),
    Mix("a week", 19_180),
    Mix("a month", 82_000),
    Mix("a month, everything is read", 82_000, drawn=(1.0,)),
    Mix("a month, the share of drawn images was raised", 82_000, drawn=(0.02, 0.1)),
    Mix("a month, 3 % unread", 82_000, unread=0.03),
    Mix("a week of a model that misses little", 19_180, sensitivity=0.995, specificity=0.6),
    Mix("a week of a model that misses much", 19_180, sensitivity=0.6, specificity=0.98),
    Mix("a month, readers err in 1 of 100", 82_000, readers_err=0.01),
)
ESTIMATES: dict[str, Callable[[Counts], Estimate]] = {
    "flagged": estimates.share_flagged,
    "sensitivity": estimates.sensitivity,
    "specificity": estimates.specificity,
    "ppv": estimates.ppv,
    "npv": estimates.npv,
    "prevalence": estimates.prevalence,
}


def coverage(random: np.random.Generator, repetitions: int, mixes: Sequence[Mix] = MIXES) -> list[Document]:
    """Count how often the intervals hold the truth."""
    documents = []
    with progress(len(mixes), "Coverage") as advance:
        for mix in mixes:
            documents.append(_coverage(random, repetitions, mix))
            advance(1)
    return documents


def _coverage(random: np.random.Generator, repetitions: int, mix: Mix) -> Document:
    truth = truths(mix)
    known, held, width = Counter[str](), Counter[str](), Counter[str]()
    for _ in range(repetitions):
        counts = draw(random, mix)
        for name, estimate in ESTIMATES.items():
            found = estimate(counts)
            if found.low is not None and found.high is not None:
                known[name] += 1
                held[name] += found.low <= truth[name] <= found.high
                width[name] += found.high - found.low  # type: ignore[assignment]
    return {
        "name": mix.name,
        "images": mix.images,
        "repetitions": repetitions,
        **{
            name: {
                "truth": truth[name],
                "known": known[name] / repetitions,
                "coverage": held[name] / known[name] if known[name] else None,
                "width": width[name] / known[name] if known[name] else None,
            }
            for name in ESTIMATES
        },
    }


def truths(mix: Mix) -> dict[str, float]:
    """Return what the figures estimate: readers are the reference, so their errors are a part of it."""
    shown, behind = _read_as(mix)
    signs, others = shown[0] + behind[0], shown[1] + behind[1]
    return {
        "flagged": sum(shown),
        "sensitivity": shown[0] / signs,
        "specificity": behind[1] / others,
        "ppv": shown[0] / sum(shown),
        "npv": behind[1] / sum(behind),
        "prevalence": signs,
    }


def _read_as(mix: Mix) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the shares of flagged and of clear images that a reader would say have signs, and have none."""
    true = mix.prevalence * mix.sensitivity, (1 - mix.prevalence) * (1 - mix.specificity)
    missed = mix.prevalence * (1 - mix.sensitivity), (1 - mix.prevalence) * mix.specificity
    keep, err = 1 - mix.readers_err, mix.readers_err
    shown = true[0] * keep + true[1] * err, true[1] * keep + true[0] * err
    return shown, (missed[0] * keep + missed[1] * err, missed[1] * keep + missed[0] * err)


def draw(random: np.random.Generator, mix: Mix) -> Counts:
    """Draw the counts of the images once."""
    (found, alarms), (missed, spared) = _read_as(mix)
    flagged = FindingCounts()
    unread = 0
    samples: dict[str, Sample] = {}
    for share in mix.drawn:
        cells = random.multinomial(mix.images // len(mix.drawn), [found, alarms, missed, spared])
        read = random.binomial(cells, [1 - mix.unread, 1 - mix.unread, share, share])
        flagged += FindingCounts(int(read[0]), int(read[1]))
        unread += int(cells[:2].sum() - read[:2].sum())
        samples[str(share)] = Sample(int(cells[2:].sum()), FindingCounts(int(read[2]), int(read[3])))
    clear = sum(sample.clear for sample in samples.values())
    images = flagged.read + unread + clear
    return Counts(
        scored=(images, *NO_BINS[1:]),
        flagged=flagged.read + unread,
        clear=clear,
        flagged_read=flagged,
        to_read_unread=unread,
        samples=samples,
    )


def text(document: Document) -> str:
    """Return the measurements as lines for people."""
    lines = [f"seed {document['seed']}, {document['seconds']} s"]
    for part in document.get("quiet", []):
        rate = f"{part['false_alarms_a_year']:.3f} a year (at most {part['false_alarms_a_year_at_most']:.3f})"
        years = f"{part['years']} years of {part['images_a_day']:g} images a day, days vary by {part['days_vary']:g}"
        lines += [
            f"quiet: {years}, {part['series']} series: {part['false_alarms']} false alarms, {rate}, {dict(part['by_figure'])}"
        ]
    for part in document.get("eventful", []):
        lines += [f"eventful: {', '.join(f'{name} {value}' for name, value in part.items())}"]
    for part in document.get("coverage", []):
        figures = (
            f"{name} {part[name]['coverage']:.1%} (width {part[name]['width']:.4f})"
            for name in ESTIMATES
            if part[name]["coverage"] is not None
        )
        lines += [f"coverage: {part['name']}, {part['images']:,} images: {', '.join(figures)}"]
    return "\n".join(lines)


def _least(repetitions: int) -> float:
    """Return three standard errors less than 95 %: so much can a simulation differ by chance."""
    return 0.95 - 3 * math.sqrt(0.95 * 0.05 / repetitions)


def is_kept(document: Document) -> bool:
    """Return whether every promise is kept: the rate of false alarms, the days, and the coverage."""
    rates = [part["false_alarms_a_year"] <= part["stated"] for part in document.get("quiet", [])]
    days = [part.get("kept", True) for part in document.get("eventful", [])]
    held = [
        part[name]["coverage"] is None or part[name]["coverage"] >= _least(part["repetitions"])
        for part in document.get("coverage", [])
        for name in ESTIMATES
    ]
    return all((*rates, *days, *held))


@click.command()
@click.option("--quiet-years", type=click.IntRange(0), default=200, show_default=True)
@click.option("--eventful-years", type=click.IntRange(0), default=40, show_default=True)
@click.option("--repetitions", type=click.IntRange(0), default=2_000, show_default=True)
@click.option("--images-a-day", type=click.FloatRange(20), default=IMAGES_A_DAY, show_default=True)
@click.option(
    "--days-vary",
    type=click.FloatRange(0, 1),
    default=DAYS_VARY,
    show_default=True,
    help="How much the share with signs varies from day to day in quiet years.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def main(
    *,
    quiet_years: int,
    eventful_years: int,
    repetitions: int,
    images_a_day: float,
    days_vary: float,
    seed: int,
    as_json: bool,
) -> None:
    """Measure false alarms, days to detection and coverage on a simulated hospital."""
    began = time.perf_counter()
    document: Document = {"seed": seed}
    if quiet_years:
        document["quiet"] = [quiet(np.random.default_rng(seed), quiet_years, images_a_day, days_vary)]
    if eventful_years:
        document["eventful"] = events(np.random.default_rng(seed), eventful_years, images_a_day)
    if repetitions:
        document["coverage"] = coverage(np.random.default_rng(seed), repetitions)
    document["seconds"] = round(time.perf_counter() - began)
    click.echo(json.dumps(document, indent=2) if as_json else text(document))
    raise SystemExit(0 if is_kept(document) else 1)


if __name__ == "__main__":
    main()
