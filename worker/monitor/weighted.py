"""Estimates from a random sample of the clear images, with inverse-probability weights and intervals of 95 %. Pure.

Each drawn image stands for as many clear ones as its *weight* says: the clear images of its stratum over the drawn ones
that were read. D. G. Horvitz and D. J. Thompson, Journal of the American Statistical Association 47 (1952), 663-685; with
the number that was read in place of the planned one, J. Hajek's estimator (in V. P. Godambe and D. A. Sprott, Foundations
of Statistical Inference, 1971, 236). A stratum is the clear images of which one share was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.monitor.counts import FindingCounts, Sample
from worker.monitor.special import beta_quantile
from worker.proportions import ALPHA, Z

# From so many on each side on, Wilson's interval is as good as the exact one, and faster.
MANY = 100
# One in so many clear images may lie where nobody has read a drawn one: their findings are then taken to be as elsewhere.
_ONE_IN = 100


@dataclass(frozen=True)
class Stratum:
    """Clear images of which one share was drawn: all of them, and the final readings of the drawn ones."""

    clear: int
    read: FindingCounts

    @property
    def weight(self) -> float:
        """The clear images for which each drawn and read one stands."""
        return self.clear / self.read.read


@dataclass(frozen=True)
class Number:
    """An estimated number of images, which varies like a counted one: a Poisson variable times a factor.

    Attributes:
        value: the estimate.
        sampling: its variance because not all were read.
        chance: the variance of the number itself: other images like these would give another one.
    """

    value: float
    sampling: float
    chance: float

    @property
    def variance(self) -> float:
        """The variance of the estimate for images like these."""
        return self.sampling + self.chance

    @property
    def effective(self) -> float:
        """The counted number with the same relative precision."""
        return self.value * self.value / self.variance if self.variance > 0 else 0.0

    @property
    def factor(self) -> float:
        """The images for which each of the effective number stands."""
        return self.variance / self.value if self.value > 0 else 1.0


def strata(samples: Mapping[str, Sample]) -> Sequence[Stratum] | str:
    """Return the strata with a sample, or a sentence that says why the clear images are not known."""
    filled = [sample for sample in samples.values() if sample.clear]
    known = [Stratum(sample.clear, sample.read) for sample in filled if sample.read.read]
    clear = sum(sample.clear for sample in filled)
    left = clear - sum(stratum.clear for stratum in known)
    if left * _ONE_IN <= clear:
        return known
    if not known:
        return "No clear image of a random sample was read, so nobody knows what was missed."
    return (
        f"From {left:,} of {clear:,} clear images none was drawn, or nobody has read a drawn one of them,"
        " so nobody knows what was missed among these."
    )


def proportion(count: float, total: float) -> tuple[float, float]:
    """Return the interval of a proportion: Clopper and Pearson's, or Wilson's where both sides are large.

    Numbers need not be whole: E. L. Korn and B. I. Graubard, Survey Methodology 24 (1998), 193-201, put effective numbers
    of a weighted sample into Clopper and Pearson's formula. Wilson: see `worker.proportions`.
    """
    rest = total - count
    if min(count, rest) < MANY:
        return beta_quantile(ALPHA / 2, count, rest + 1), beta_quantile(1 - ALPHA / 2, count + 1, rest)
    share = count / total
    middle = share + Z * Z / (2 * total)
    spread = Z * math.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    return (middle - spread) / (1 + Z * Z / total), (middle + spread) / (1 + Z * Z / total)


def number(parts: Sequence[tuple[Stratum, int]], side: int = 0) -> Number:
    """Estimate how many clear images are of a kind, from how many of the drawn and read ones are.

    Args:
        parts: each stratum with the number of the kind among its drawn and read images.
        side: 0 for the estimate; 1 or -1 for what stands for it at the upper or lower limit of an interval. There, the
            stratum of the largest weight counts one image more, or one less likely to be of the kind, as in Clopper and
            Pearson's interval, and as M. P. Fay and E. J. Feuer, Statistics in Medicine 16 (1997), 791-801, do it for sums
            with weights.
    """
    if not parts:
        return Number(0.0, 0.0, 0.0)
    heaviest = max(range(len(parts)), key=lambda place: parts[place][0].weight)
    value = sampling = chance = 0.0
    for place, (stratum, count) in enumerate(parts):
        here = side if place == heaviest else 0
        read = stratum.read.read + abs(here)
        share = (count + max(here, 0)) / read
        spread = share * (1 - share) / (read + abs(here))
        value += stratum.clear * share
        sampling += stratum.clear**2 * spread
        # With a fixed share, only the number of clear images varies.
        chance += stratum.clear * share * share
    return Number(value, sampling, chance)


def counted_share(counted: int, parts: Sequence[tuple[Stratum, int]], more: int = 0) -> tuple[float, float]:
    """Return the limits of the share that `counted` images have of these and an estimated number of clear ones.

    Given their sum, the first of two Poisson counts is a binomial one (J. Przyborowski and H. Wilenski, Biometrika 31
    (1940), 313-323). So Clopper and Pearson's limits of that binomial share, with the effective number in place of the
    second count, give those of the odds, which are then divided by the factor of the estimated number. With one stratum
    and a rare kind, this is exact.

    Args:
        counted: how many images are known for certain.
        parts: what `number` takes.
        more: how many further images may belong to `counted`; the upper limit allows for all of them.
    """
    upper, lower = number(parts, 1), number(parts, -1)
    low = beta_quantile(ALPHA / 2, counted, upper.effective)
    high = beta_quantile(1 - ALPHA / 2, counted + more + 1, lower.effective)
    return _divided(low, upper.factor), _divided(high, lower.factor)


def share_of_all(
    counted: int, others: int, of_kind: Sequence[tuple[Stratum, int]], rest: Sequence[tuple[Stratum, int]]
) -> tuple[float, float, float]:
    """Return the share of all images that are of a kind, with its limits.

    The variance is the binomial one plus that of the sample; the limits are Clopper and Pearson's with the number of images
    that has this variance (Korn and Graubard, as above).

    Args:
        counted: how many images are known for certain to be of the kind.
        others: how many are known for certain not to be.
        of_kind: what `number` takes, for the clear images of the kind.
        rest: the same for those that are not.
    """
    ends = [_of_all(counted, others, of_kind, rest, side) for side in (-1, 0, 1)]
    (_, low, _), (share, _, _), (_, _, high) = ends
    return share, low, high


def _of_all(
    counted: int,
    others: int,
    of_kind: Sequence[tuple[Stratum, int]],
    rest: Sequence[tuple[Stratum, int]],
    side: int,
) -> tuple[float, float, float]:
    estimated = number(of_kind, side)
    size = counted + others + number(of_kind).value + number(rest).value
    share = min(1.0, (counted + estimated.value) / size)
    variance = share * (1 - share) / size + estimated.sampling / (size * size)
    effective = share * (1 - share) / variance if variance else size
    return share, *proportion(share * effective, effective)


def weighted_share(parts: Sequence[tuple[float, int, int]]) -> tuple[float, float, float]:
    """Return a share of weighted images with its limits (Korn and Graubard, as above).

    Args:
        parts: the weight of each image, how many images have it, and how many of these are of the kind. At least one image.
    """
    whole = sum(weight * size for weight, size, _ in parts)
    share = sum(weight * count for weight, _, count in parts) / whole
    effective = whole * whole / sum(weight * weight * size for weight, size, _ in parts)
    return share, *proportion(share * effective, effective)


def _divided(share: float, factor: float) -> float:
    """Return the share whose odds are those of `share` divided by the factor."""
    return share / (share + (1 - share) * factor)
