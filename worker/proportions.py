"""Intervals of 95 % for proportions and for numbers in a finite set of images. Pure.

The standard library suffices: tails are summed, and limits are found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# The 97.5th percentile of the normal distribution.
Z = 1.959963984540054
# What both tails of an interval may hold together.
ALPHA = 0.05
_NEGLIGIBLE = 1e-15
# Halving an interval so often leaves nothing that a float could tell apart.
_HALVINGS = 60


def wilson(count: int, total: int, z: float = Z) -> tuple[float, float]:
    """Return the score interval of a proportion, for a quantile `z` of the normal distribution.

    E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212; recommended by R. G. Newcombe,
    Statistics in Medicine 17 (1998), 857-872 (there method 3). Raises ValueError unless 0 <= count <= total, total > 0.
    """
    _check(count, total)
    share, z2 = count / total, z * z
    middle = share + z2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    scale = 1 + z2 / total
    low = 0.0 if count == 0 else (middle - spread) / scale
    high = 1.0 if count == total else (middle + spread) / scale
    return low, high


def clopper_pearson(count: int, total: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the exact interval of a proportion. It covers the truth in at least `1 - alpha` of all samples.

    C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413. Raises ValueError unless 0 <= count <= total,
    total > 0.
    """
    _check(count, total)
    tail = alpha / 2
    low = 0.0 if count == 0 else _root(lambda share: binomial_tail(count, total, share) > tail)
    high = (
        1.0 if count == total else 1 - _root(lambda share: binomial_tail(total - count, total, share) > tail)
    )
    return low, high


def binomial_tail(count: int, total: int, share: float) -> float:
    """Return the probability of `count` or more of `total`, if each has the probability `share`."""
    if count <= 0 or share >= 1:
        return 1.0
    if share <= 0 or count > total:
        return 0.0
    if count <= total * share:
        # The terms of the smaller tail fall from the first one on.
        return 1 - binomial_tail(total - count + 1, total, 1 - share)
    term = math.exp(
        _log_choices(total, count) + count * math.log(share) + (total - count) * math.log1p(-share)
    )
    odds, tail = share / (1 - share), 0.0
    for number in range(count, total + 1):
        tail += term
        term *= (total - number) / (number + 1) * odds
        if term <= _NEGLIGIBLE * tail:
            break
    return min(1.0, tail)


def number_in_a_finite_set(found: int, sampled: int, size: int, alpha: float = ALPHA) -> tuple[int, int]:
    """Return limits for how many of `size` things are of a kind, of which a random sample without replacement has `found`.

    The limits are the numbers that an exact hypergeometric test does not reject: J. P. Buonaccorsi, The American
    Statistician 41 (1987), 215-218. They hold for every size of the sample, and meet once everything was looked at.

    Raises ValueError unless 0 <= found <= sampled <= size, sampled > 0.
    """
    _check(found, sampled)
    if sampled > size:
        raise ValueError("a sample cannot be larger than what it was drawn from")
    tail, others = alpha / 2, sampled - found
    least = _smallest(
        found, size - others, lambda number: hypergeometric_tail(found, sampled, number, size) > tail
    )
    # The same question about the things that are not of the kind.
    fewest_others = _smallest(
        others, size - found, lambda number: hypergeometric_tail(others, sampled, number, size) > tail
    )
    return least, size - fewest_others


def hypergeometric_tail(found: int, sampled: int, number: int, size: int) -> float:
    """Return the probability that a sample has `found` or more of the `number` things of a kind among `size`."""
    most, fewest = min(sampled, number), max(0, sampled - (size - number))
    if found <= fewest:
        return 1.0
    if found > most:
        return 0.0
    if found * size <= sampled * number:
        # The terms of the smaller tail fall from the first one on. Its things are those of the sample of another kind.
        return 1 - hypergeometric_tail(sampled - found + 1, sampled, size - number, size)
    log = (
        _log_choices(number, found)
        + _log_choices(size - number, sampled - found)
        - _log_choices(size, sampled)
    )
    term, tail = math.exp(log), 0.0
    for here in range(found, most + 1):
        tail += term
        term *= (number - here) * (sampled - here) / ((here + 1) * (size - number - sampled + here + 1))
        if term <= _NEGLIGIBLE * tail:
            break
    return min(1.0, tail)


def _check(count: int, total: int) -> None:
    if not (total > 0 and 0 <= count <= total):
        raise ValueError(f"{count} of {total} is no proportion")


def _log_choices(total: int, count: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)


def _root(is_above: Callable[[float], bool]) -> float:
    """Return the share from which on the answer is yes."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2


def _smallest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the smallest number from `low` to `high` that fits; all above it fit, and so does `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low
