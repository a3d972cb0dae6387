"""Says how well the model works on a group of images, from its counts. Each figure has an interval of 95 %. Pure.

*Not known* is an answer: a figure without a basis has no value, and a sentence says why.

Flagged and uncertain images are all read; of the clear ones, only those drawn at random. So what concerns the clear images
is estimated from the drawn ones with weights (`worker.monitor.weighted`). The readings are the reference. An image is
*found* if it is flagged or uncertain: then a person reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.monitor.counts import BINS, Counts, FindingCounts
from worker.monitor.weighted import (
    Stratum,
    counted_share,
    number,
    proportion,
    share_of_all,
    strata,
    weighted_share,
)

# Groups with fewer images are not shown.
SMALL = 10
# A figure from readings is known once all but this share of the flagged and uncertain images are read.
UNREAD = 0.05
_NOTHING_READ = "No flagged or uncertain image of these was read and judged."


@dataclass(frozen=True)
class Estimate:
    """A figure from 0 to 1 with its interval of 95 %.

    Attributes:
        value: None if it is not known.
        low, high: the limits of the interval; None if the value is.
        n: the images that the figure rests on: for one from readings, the judged ones.
        sampled: whether it was estimated from a random sample, with weights.
        why_not: a sentence that says why the value is not known; empty if it is.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    sampled: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose score is from `low` up to `high`, and which share of them has signs by the readings."""

    low: float
    high: float
    share: Estimate


def is_small(counts: Counts) -> bool:
    """Return whether the group is too small to be shown: it has some images, but fewer than ten."""
    return 0 < counts.images + counts.turned_away + counts.to_read.read + counts.clear_read.read < SMALL


def share_flagged(counts: Counts) -> Estimate:
    """Return the share of scored images that are flagged."""
    return _counted(counts.flagged, counts.images, "No image was scored.")


def share_rejected(counts: Counts, reason: str | None = None) -> Estimate:
    """Return the share of images that were rejected, for one reason or for any, of the scored and rejected ones."""
    rejected = counts.turned_away if reason is None else counts.rejected.get(reason, 0)
    return _counted(rejected, counts.images + counts.turned_away, "No image was scored or rejected.")


def share_far(counts: Counts) -> Estimate:
    """Return the share of images far from the training data, of those of which the model says how far they are."""
    return _counted(
        counts.far, counts.measured, "The model does not say how far images are from its training data."
    )


def override_rate(counts: Counts) -> Estimate:
    """Return the share of judged flagged and clear images whose reading contradicts the verdict.

    It is a share of what was read, not of all images: few clear images are read.
    """
    return _counted(
        counts.overridden, counts.contradictable, "No flagged or clear image was read and judged."
    )


def ppv(counts: Counts) -> Estimate:
    """Return the positive predictive value: the share with signs of the judged flagged and uncertain images."""
    why_not = _unknown(counts)
    if why_not:
        return Estimate(None, why_not=why_not)
    read, unread = counts.to_read, counts.to_read_unread
    # Nobody knows what the unread ones are: the limits allow for all or none of them.
    low, _ = proportion(read.with_signs, read.judged + unread)
    _, high = proportion(read.with_signs + unread, read.judged + unread)
    return Estimate(read.with_signs / read.judged, low, high, read.judged)


def npv(counts: Counts) -> Estimate:
    """Return the negative predictive value: the share without signs of the clear images, from the sample."""
    sampled = _sampled(counts)
    if isinstance(sampled, str):
        return Estimate(None, why_not=sampled)
    judged = sum(stratum.read.judged for stratum in sampled)
    if not judged:
        return Estimate(None, why_not="No drawn clear image was judged.")
    parts = [(stratum.weight, stratum.read.judged, stratum.read.without_signs) for stratum in sampled]
    return Estimate(*weighted_share(parts), n=judged, sampled=True)


def sensitivity(counts: Counts) -> Estimate:
    """Return the share of images with signs that are found: flagged or uncertain.

    Found images are counted; those missed are estimated from the drawn clear images. The interval holds for further images
    like these (`worker.monitor.weighted.counted_share`).
    """
    return _of_all(counts, lambda read: read.with_signs, "with", lambda found: found)


def specificity(counts: Counts) -> Estimate:
    """Return the share of images without signs that are clear.

    False alarms are counted; the clear images without signs are estimated from the drawn ones.
    """
    return _of_all(counts, lambda read: read.without_signs, "without", lambda false_alarms: 1 - false_alarms)


def prevalence(counts: Counts) -> Estimate:
    """Return the share of images with signs, found or missed, of those that can be judged."""
    sampled, why_not = _sampled(counts), _unknown(counts)
    if isinstance(sampled, str) or why_not:
        return Estimate(None, why_not=why_not or str(sampled))
    signs = [(stratum, stratum.read.with_signs) for stratum in sampled]
    others = [(stratum, stratum.read.without_signs) for stratum in sampled]
    read = counts.to_read
    judged = read.judged + sum(stratum.read.judged for stratum in sampled)
    unread = counts.to_read_unread
    # Nobody knows what the unread ones are: the limits allow for all or none of them.
    _, low, _ = share_of_all(read.with_signs, read.without_signs + unread, signs, others)
    _, _, high = share_of_all(read.with_signs + unread, read.without_signs, signs, others)
    as_read = round(unread * read.with_signs / read.judged)
    share, _, _ = share_of_all(
        read.with_signs + as_read, read.without_signs + unread - as_read, signs, others
    )
    return Estimate(share, low, high, judged, sampled=True)


def calibration(counts: Counts) -> list[CalibrationBin]:
    """Return the share with signs for each twentieth of the score. A calibrated score lies inside its interval.

    The card's scores are calibrated at the prevalence of the card; at another one, all shares differ in one direction.
    """
    sampled, why_not = _sampled(counts), _unknown(counts)
    if isinstance(sampled, str) or why_not:
        unknown = Estimate(None, why_not=why_not or str(sampled))
        return [CalibrationBin(place / BINS, (place + 1) / BINS, unknown) for place in range(BINS)]
    judged = [(1.0, counts.to_read_by_score)]
    judged += [
        (sample.clear / sample.read.read, sample.by_score)
        for sample in counts.samples.values()
        if sample.read.read
    ]
    bins = []
    for place in range(BINS):
        parts = [
            (weight, of.with_signs[place] + of.without_signs[place], of.with_signs[place])
            for weight, of in judged
        ]
        bins.append(CalibrationBin(place / BINS, (place + 1) / BINS, _weighted(parts)))
    return bins


def _weighted(parts: Sequence[tuple[float, int, int]]) -> Estimate:
    judged = sum(size for _, size, _ in parts)
    if not judged:
        return Estimate(None, why_not="No image with such a score was judged.")
    share, low, high = weighted_share(parts)
    return Estimate(share, low, high, judged, sampled=any(size and weight > 1 for weight, size, _ in parts))


def _counted(count: int, total: int, why_not: str) -> Estimate:
    if not total:
        return Estimate(None, why_not=why_not)
    return Estimate(count / total, *proportion(count, total), total)


def _unknown(counts: Counts) -> str:
    """Return why nothing can be said from the readings of flagged and uncertain images; empty if something can."""
    read, unread = counts.to_read, counts.to_read_unread
    if unread > UNREAD * (read.read + unread):
        return (
            f"Flagged or uncertain images that nobody has read: {unread:,}."
            " The figure is known once all but one in twenty are read."
        )
    return "" if read.judged else _NOTHING_READ


def _sampled(counts: Counts) -> Sequence[Stratum] | str:
    if counts.clear and not sum(sample.clear for sample in counts.samples.values()):
        return "No clear image was drawn, so nobody knows what was missed."
    return strata(counts.samples)


def _of_all(
    counts: Counts, of_kind: Callable[[FindingCounts], int], kind: str, figure: Callable[[float], float]
) -> Estimate:
    """Estimate a share of all images of a kind, clear or not, from the share that is flagged or uncertain."""
    sampled, why_not = _sampled(counts), _unknown(counts)
    if isinstance(sampled, str) or (why_not and why_not != _NOTHING_READ):
        return Estimate(None, why_not=why_not if why_not and why_not != _NOTHING_READ else str(sampled))
    shown = of_kind(counts.to_read)
    parts = [(stratum, of_kind(stratum.read)) for stratum in sampled]
    behind = number(parts).value
    if not shown + behind:
        return Estimate(None, why_not=f"No image {kind} signs was found or drawn.")
    limits = map(figure, counted_share(shown, parts, counts.to_read_unread))
    low, high = sorted(limits)
    judged = shown + sum(count for _, count in parts)
    # The value takes the unread ones for such as were read; the limits allow for anything.
    read = counts.to_read.read
    all_shown = shown * (read + counts.to_read_unread) / read if read else 0.0
    return Estimate(figure(all_shown / (all_shown + behind)), low, high, judged, sampled=True)
