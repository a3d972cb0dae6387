"""Says how far the scores of a period lie from expected ones: the population stability index, and a test. Pure.

The index says how large a difference is; the test says whether chance explains it. With many images, the test finds
differences that matter to nobody; with few, the index is large by chance. So both belong together, with the numbers of images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from worker.monitor.counts import BINS, Bins
from worker.monitor.special import chi_square_tail

# A bin with fewer expected images is merged with the next one: W. G. Cochran, Biometrics 10 (1954), 417-451.
EXPECTED = 5
# With fewer images, nothing is compared.
IMAGES = 50
# The usual reading of the index: N. Siddiqi, Credit Risk Scorecards (2006): below 0.1 no change, above 0.25 a large one.
SOME, LARGE = 0.1, 0.25


@dataclass(frozen=True)
class Drift:
    """How far scores lie from expected ones.

    Attributes:
        psi: the population stability index, 0 or more; None if too few images are there.
        by_chance: the index that chance alone gives on average, with these numbers of images.
        p: the probability of a chi-square as large as this if nothing differs; None like `psi`.
        n: the images of the period.
        expected_n: the images that it is compared with; None if the expected shares are taken as exact.
        bins: how many bins were compared, after merging.
        why_not: a sentence that says why nothing is known; empty if something is.
    """

    psi: float | None
    by_chance: float | None = None
    p: float | None = None
    n: int = 0
    expected_n: int | None = None
    bins: int = 0
    why_not: str = ""


def drift(scored: Bins, earlier: Bins) -> Drift:
    """Compare scores with those of earlier images of the same site: both are samples.

    The test is Pearson's chi-square for two samples. Raises ValueError if the numbers of bins differ.
    """
    n, m = sum(scored), sum(earlier)
    if min(n, m) < IMAGES:
        return _too_few(n, m)
    both = [here + before for here, before in zip(scored, earlier, strict=True)]
    # In the smaller sample, each bin should expect enough images.
    groups = _merged([total * min(n, m) / (n + m) for total in both])
    ours, theirs = _by_group(scored, groups), _by_group(earlier, groups)
    chi_square = sum(
        (here * m - before * n) ** 2 / (n * m * (here + before))
        for here, before in zip(ours, theirs, strict=True)
        if here + before
    )
    return _drift(ours, [before / m for before in theirs], chi_square, m)


def drift_from_shares(scored: Bins, shares: Sequence[float]) -> Drift:
    """Compare scores with expected shares that are taken as exact, such as those of a model card.

    The test is Pearson's chi-square (Philosophical Magazine 50 (1900), 157-175). Raises ValueError if the shares are not one
    for each bin, or all are 0.
    """
    n = sum(scored)
    if n < IMAGES:
        return _too_few(n, None)
    whole = sum(shares)
    if len(shares) != len(scored) or whole <= 0:
        raise ValueError("each bin needs an expected share")
    groups = _merged([share / whole * n for share in shares])
    ours, theirs = _by_group(scored, groups), [share / whole for share in _by_group(shares, groups)]
    chi_square = sum(
        (here - share * n) ** 2 / (share * n) for here, share in zip(ours, theirs, strict=True) if share
    )
    return _drift(ours, theirs, chi_square, None)


def psi(counts: Sequence[float], shares: Sequence[float]) -> float:
    """Return the population stability index: the sum of (p - q) ln(p / q) over bins.

    It is the symmetric divergence J of H. Jeffreys, Proceedings of the Royal Society A 186 (1946), 453-461; under its name
    in E. M. Lewis, An Introduction to Credit Scoring (1994). Half an image is added to an empty bin, or the index would be
    infinite.

    Args:
        counts: images in each bin.
        shares: the expected share of each bin; they add up to 1.
    """
    n = sum(counts)
    index = 0.0
    for count, share in zip(counts, shares, strict=True):
        if count or share:
            here, expected = max(count, 0.5) / n, max(share, 0.5 / n)
            index += (here - expected) * math.log(here / expected)
    return index


def expected_shares(
    thresholds: Sequence[float],
    sensitivities: Sequence[float],
    specificities: Sequence[float],
    prevalence: float,
) -> list[float]:
    """Return the share of scores in each twentieth that a ROC curve gives at a prevalence.

    At or above a threshold lie the share `sensitivity` of the images with signs, and `1 - specificity` of the others. Between
    two points of the curve, the scores are taken as evenly spread.

    Args:
        thresholds: of the points of the curve, in any order; those outside 0 to 1 count as its ends.
        sensitivities: of each point.
        specificities: of each point.
        prevalence: the share of images with signs.
    """
    above = {0.0: 1.0, 1.0: 0.0}
    for threshold, found, spared in zip(thresholds, sensitivities, specificities, strict=True):
        if 0 < threshold < 1:
            above[threshold] = prevalence * found + (1 - prevalence) * (1 - spared)
    points = sorted(above.items())
    edges = [_between(points, place / BINS) for place in range(BINS + 1)]
    return [max(0.0, low - high) for low, high in itertools.pairwise(edges)]


def _between(points: Sequence[tuple[float, float]], score: float) -> float:
    """Return the share at or above a score, on the line between the points beside it."""
    for (left, share), (right, following) in itertools.pairwise(points):
        if left <= score <= right:
            return share + (following - share) * (score - left) / (right - left)
    raise ValueError("scores lie from 0 to 1")


def _drift(
    ours: Sequence[float], shares: Sequence[float], chi_square: float, expected_n: int | None
) -> Drift:
    n = int(sum(ours))
    degrees = len(ours) - 1
    return Drift(
        psi=psi(ours, shares),
        by_chance=degrees * (1 / n + (1 / expected_n if expected_n else 0.0)),
        p=chi_square_tail(chi_square, degrees),
        n=n,
        expected_n=expected_n,
        bins=len(ours),
    )


def _too_few(n: int, m: int | None) -> Drift:
    why_not = f"Fewer than {IMAGES} images are too few to compare scores."
    return Drift(None, n=n, expected_n=m, why_not=why_not)


def _merged(expected: Sequence[float]) -> list[range]:
    """Join neighbouring bins until each group expects enough images. What is left over joins the last group."""
    groups: list[range] = []
    first, here = 0, 0.0
    for place, images in enumerate(expected):
        here += images
        if here >= EXPECTED:
            groups.append(range(first, place + 1))
            first, here = place + 1, 0.0
    last = groups.pop().start if groups else 0
    return [*groups, range(last, len(expected))]


def _by_group(bins: Sequence[float], groups: Sequence[range]) -> list[float]:
    return [sum(bins[place] for place in group) for group in groups]
