"""Which figures the monitor watches for changes, and what it counts of each on a day. Pure.

Each is a share of events among trials. *found* is the share of images that are flagged or uncertain and have signs. Three
others hardly depend on how many images have signs, so they tell a change of
the model or of the images from a change of the patients:

- *sensitivity*: of the found images and the drawn missed ones, the missed ones. Both grow with the prevalence alike.
- *specificity*: of the false alarms and the clear images, the false alarms.
- *scores*: of the images with a score below 0.3, those in the upper part of this range. Few of them have signs.

*far* is the share of images far from the training data: it tells that the images are other ones, and nothing of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.monitor.counts import Counts, Sample
from worker.monitor.estimates import (
    UNREAD,
    Estimate,
    override_rate,
    sensitivity,
    share_far,
    share_flagged,
    share_rejected,
    specificity,
)
from worker.monitor.weighted import proportion

# Scores below this twentieth are low: below 0.3.
LOW = 6
# So many low scores are enough to choose where to part them.
_ENOUGH_TO_CHOOSE = 200
_NO_TRIALS = 0, 0


class Figure(StrEnum):
    """A figure that is watched."""

    FLAGGED = "flagged"
    REJECTED = "rejected"
    SCORES = "scores"
    SPECIFICITY = "specificity"
    SENSITIVITY = "sensitivity"
    FOUND = "found"
    OVERRIDES = "overrides"
    FAR = "far"


@dataclass(frozen=True)
class Series:
    """The events and trials of a figure on each day, and how to estimate it from the counts of several days.

    Attributes:
        figure: what is watched.
        events, trials: of each day. A day that says nothing yet has no trials.
        estimate: estimates the figure from the sum of days.
        falls: whether the figure falls if the share of events rises.
        weight: for how many images each event stands: more than 1 if only a share of them is drawn.
    """

    figure: Figure
    events: Sequence[int]
    trials: Sequence[int]
    estimate: Callable[[Counts], Estimate]
    falls: bool = False
    weight: float = 1.0

    @property
    def says_anything(self) -> bool:
        """Whether the share of events can change at all."""
        return 0 < sum(self.events) < sum(self.trials)


def is_read(counts: Counts) -> bool:
    """Return whether the readings of a day can be counted: almost all images that are to be read have a final reading.

    Readers begin with the highest scores, so that the first readings are like no others.
    """
    drawn = sum(sample.unread + sample.read.read for sample in counts.samples.values())
    to_read = counts.to_read_unread + counts.to_read.read + drawn
    unread = counts.to_read_unread + sum(sample.unread for sample in counts.samples.values())
    return unread <= UNREAD * to_read


def all_series(days: Sequence[Counts], *, of_reader: bool = False) -> list[Series]:
    """Return the series of a group of images, those without anything to watch left out.

    Args:
        days: the counts of each day, without a gap.
        of_reader: whether these are the readings of one person. Then only the overrides are watched: which images a person
            reads says nothing about the model.
    """
    series = [_overrides(days)] if of_reader else [*_of_scores(days), *_of_readings(days)]
    return [each for each in series if each.says_anything]


def _of_scores(days: Sequence[Counts]) -> list[Series]:
    flagged = _series(Figure.FLAGGED, days, lambda day: (day.flagged, day.images), share_flagged)
    rejected = _series(
        Figure.REJECTED, days, lambda day: (day.turned_away, day.images + day.turned_away), share_rejected
    )
    far = _series(Figure.FAR, days, lambda day: (day.far, day.measured), share_far)
    return [flagged, rejected, far, _low_scores(days)]


def _low_scores(days: Sequence[Counts]) -> Series:
    """Watch the low scores on both sides of the twentieth that parts those of the first days most evenly."""
    first: list[int] = [0] * LOW
    for day in days:
        # Later days must not move the choice.
        if sum(first) >= _ENOUGH_TO_CHOOSE:
            break
        first = [known + more for known, more in zip(first, day.scored, strict=False)]
    split = min(range(1, LOW), key=lambda place: abs(2 * sum(first[:place]) - sum(first)))

    def count(day: Counts) -> tuple[int, int]:
        return sum(day.scored[split:LOW]), sum(day.scored[:LOW])

    return _series(Figure.SCORES, days, count, lambda counts: _share(*count(counts)))


def _of_readings(days: Sequence[Counts]) -> list[Series]:
    def when_read(count: Callable[[Counts], tuple[int, int]]) -> Callable[[Counts], tuple[int, int]]:
        return lambda day: count(day) if is_read(day) else _NO_TRIALS

    series = [
        _series(
            Figure.FOUND,
            days,
            when_read(lambda day: (day.to_read.with_signs, day.images)),
            lambda counts: _share(counts.to_read.with_signs, counts.images),
        ),
        _series(
            Figure.SPECIFICITY,
            days,
            when_read(lambda day: (day.to_read.without_signs, day.to_read.without_signs + day.clear)),
            specificity,
            falls=True,
        ),
    ]
    main_shares = [_main_share(day.samples) for day in days]
    # Of another share of drawn images, another share of the missed ones is known: a series of its own.
    for share in sorted({share for share in main_shares if share and float(share) > 0}):
        days_of_share = [
            day if main == share else Counts.none() for day, main in zip(days, main_shares, strict=True)
        ]
        series.append(
            _series(
                Figure.SENSITIVITY,
                days_of_share,
                when_read(_missed),
                sensitivity,
                falls=True,
                weight=1 / float(share),
            )
        )
    return series


def _missed(day: Counts) -> tuple[int, int]:
    missed = sum(sample.read.with_signs for sample in day.samples.values())
    return missed, missed + day.to_read.with_signs


def _main_share(samples: Mapping[str, Sample]) -> str:
    """Return the share of drawn images that held for most clear images of a day; empty without any."""
    return max(samples, key=lambda share: samples[share].clear, default="")


def _overrides(days: Sequence[Counts]) -> Series:
    return _series(Figure.OVERRIDES, days, lambda day: (day.overridden, day.contradictable), override_rate)


def _series(
    figure: Figure,
    days: Sequence[Counts],
    count: Callable[[Counts], tuple[int, int]],
    estimate: Callable[[Counts], Estimate],
    *,
    falls: bool = False,
    weight: float = 1.0,
) -> Series:
    both = [count(day) for day in days]
    events, trials = [events for events, _ in both], [trials for _, trials in both]
    return Series(figure, events, trials, estimate, falls, weight)


def _share(events: int, trials: int) -> Estimate:
    if not trials:
        return Estimate(None, why_not="There is no image to count.")
    return Estimate(events / trials, *proportion(events, trials), trials)
