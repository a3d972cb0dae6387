"""Distributions that the standard library lacks: beta and chi-square. Pure Python, because SciPy is not installed for users.

W. H. Press et al., Numerical Recipes, 3rd edition (2007), sections 6.2 and 6.4: series and continued fractions, the latter
by Lentz's method. The tests compare them with SciPy's values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

_TINY = 1e-300
_ENOUGH = 1e-14
_TERMS = 100_000
_STEPS = 200


def beta_cdf(share: float, first: float, second: float) -> float:
    """Return the probability that a beta variable with these two positive parameters is at most `share`."""
    if share <= 0 or share >= 1:
        return 0.0 if share <= 0 else 1.0
    log = _log_beta_factor(share, first, second)
    if share < (first + 1) / (first + second + 2):
        return math.exp(log) * _continued(_beta_terms(share, first, second)) / first
    return 1 - math.exp(log) * _continued(_beta_terms(1 - share, second, first)) / second


def beta_quantile(probability: float, first: float, second: float) -> float:
    """Return the share that a beta variable exceeds with the probability `1 - probability`.

    The quantile is 0 if `first` is 0, and 1 if `second` is 0, as for the ends of Clopper and Pearson's interval.
    """
    if first <= 0 or second <= 0:
        return 0.0 if first <= 0 else 1.0
    low, high, share = 0.0, 1.0, first / (first + second)
    for _ in range(_STEPS):
        over = beta_cdf(share, first, second) - probability
        low, high = (low, share) if over > 0 else (share, high)
        log_density = _log_beta_factor(share, first, second) - math.log(share) - math.log1p(-share)
        step = over * math.exp(-log_density) if log_density > -_STEPS else 0.0
        following = share - step
        # Newton's method, and halving where it would leave the bounds.
        if not step or not low < following < high:
            following = (low + high) / 2
        if abs(following - share) <= _ENOUGH + 1e-12 * share:
            return following
        share = following
    return share


def chi_square_tail(value: float, degrees: int) -> float:
    """Return the probability that a chi-square variable with so many degrees of freedom is `value` or more."""
    if value <= 0 or degrees <= 0:
        return 1.0
    shape, place = degrees / 2, value / 2
    log = shape * math.log(place) - place - math.lgamma(shape)
    if place < shape + 1:
        term = total = 1 / shape
        for number in range(1, _TERMS):
            term *= place / (shape + number)
            total += term
            if term < total * _ENOUGH:
                break
        return max(0.0, 1 - math.exp(log) * total)
    return math.exp(log) * _continued(_gamma_terms(place, shape), place + 1 - shape)


def normal_two_sided(z: float) -> float:
    """Return the probability that a standard normal variable lies as far from 0 as `z`, or farther."""
    return math.erfc(abs(z) / math.sqrt(2))


def _log_beta_factor(share: float, first: float, second: float) -> float:
    log_beta = math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
    return first * math.log(share) + second * math.log1p(-share) - log_beta


def _beta_terms(share: float, first: float, second: float) -> Iterator[tuple[float, float]]:
    """Give numerators and denominators of the continued fraction of the incomplete beta function."""
    yield -(first + second) * share / (first + 1), 1.0
    for number in range(1, _TERMS):
        twice = first + 2 * number
        yield number * (second - number) * share / ((twice - 1) * twice), 1.0
        yield -(first + number) * (first + second + number) * share / (twice * (twice + 1)), 1.0


def _gamma_terms(place: float, shape: float) -> Iterator[tuple[float, float]]:
    """Give numerators and denominators of the continued fraction of the incomplete gamma function."""
    for number in range(1, _TERMS):
        yield -number * (number - shape), place + 1 - shape + 2 * number


def _continued(terms: Iterator[tuple[float, float]], beginning: float = 1.0) -> float:
    """Return 1 over the continued fraction that begins with a number and goes on with these terms."""
    value = beginning or _TINY
    above, below = value, 0.0
    for numerator, denominator in terms:
        below = 1 / (denominator + numerator * below or _TINY)
        above = denominator + numerator / above or _TINY
        factor = above * below
        value *= factor
        if abs(factor - 1) < _ENOUGH:
            break
    return 1 / value
