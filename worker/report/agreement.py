"""How often two readers agree: raw agreement, Cohen's kappa and Gwet's AC1, each with an interval of 95 %. Pure.

What cannot be said is None, with a sentence that says why. No result is ever NaN.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from worker.proportions import Z, wilson

Table = Sequence[Sequence[int]]

_NOTHING_READ = "No image was read by both readers."
_ONE_CATEGORY = "With a single finding to choose from, agreement says nothing."
_SAME_FINDING = (
    "Both readers gave every image the same finding, so chance would explain all of their agreement."
)
_NO_SPREAD = "These readings do not vary, so the formula of the interval does not hold."


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval of 95 %.

    Attributes:
        value: None if it is not known.
        low, high: the limits of the interval; None if they are not known, which can be so although the value is.
        standard_error: of the value, where the interval was made from one; else None.
        why_not: a sentence that says why something is not known; empty if all is.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Agreement:
    """How often two readers agree about the same images.

    Attributes:
        pairs: the images that both have read.
        raw: the share of images with the same finding, 0 to 1, with Wilson's interval.
        kappa: agreement beyond chance, -1 to 1; chance is what the readers' own shares of findings would give.
        ac1: agreement beyond chance, -1 to 1; it stays stable where almost all images have the same finding.
    """

    pairs: int
    raw: Estimate
    kappa: Estimate
    ac1: Estimate


def table_of_pairs(
    pairs: Iterable[tuple[Hashable, Hashable]], categories: Sequence[Hashable]
) -> list[list[int]]:
    """Return the table of counts: a row for each finding of the first reader, a column for each of the second.

    Args:
        pairs: the findings of the first and of the second reader for each image.
        categories: every finding that the readers could choose, in any order. AC1 depends on how many there are.

    Raises ValueError for a finding that is no category.
    """
    place = {category: number for number, category in enumerate(categories)}
    table = [[0] * len(place) for _ in place]
    for first, second in pairs:
        if first not in place or second not in place:
            raise ValueError(f"{first} and {second} must be among the categories")
        table[place[first]][place[second]] += 1
    return table


def agreement(table: Table) -> Agreement:
    """Return all figures of a square table of counts: rows are findings of the first reader, columns of the second.

    Raises ValueError if the table is not square, or has a negative count.
    """
    if any(len(row) != len(table) for row in table) or any(count < 0 for row in table for count in row):
        raise ValueError("the table must be square, with counts of 0 or more")
    return Agreement(sum(map(sum, table)), raw_agreement(table), cohens_kappa(table), gwets_ac1(table))


def raw_agreement(table: Table) -> Estimate:
    """Return the share of images with the same finding, with the interval of Wilson (1927)."""
    images = sum(map(sum, table))
    if not images:
        return Estimate(None, why_not=_NOTHING_READ)
    same = sum(row[place] for place, row in enumerate(table))
    return Estimate(same / images, *wilson(same, images))


def cohens_kappa(table: Table) -> Estimate:
    """Return Cohen's kappa with its large-sample interval.

    J. Cohen, Educational and Psychological Measurement 20 (1960), 37-46. Standard error: J. L. Fleiss, J. Cohen and
    B. S. Everitt, Psychological Bulletin 72 (1969), 323-327, equation 13.
    """
    known = _shares(table)
    if isinstance(known, str):
        return Estimate(None, why_not=known)
    shares, rows, columns, images = known
    by_chance = sum(row * column for row, column in zip(rows, columns, strict=True))
    same = sum(row[place] for place, row in enumerate(shares))
    if math.isclose(by_chance, 1):
        return Estimate(None, why_not=_SAME_FINDING)
    kappa = (same - by_chance) / (1 - by_chance)
    variance = -((kappa - by_chance * (1 - kappa)) ** 2)
    for first, row in enumerate(shares):
        for second, share in enumerate(row):
            if first == second:
                variance += share * (1 - (rows[first] + columns[first]) * (1 - kappa)) ** 2
            else:
                variance += share * (1 - kappa) ** 2 * (columns[first] + rows[second]) ** 2
    return _with_interval(kappa, variance / (images * (1 - by_chance) ** 2))


def gwets_ac1(table: Table) -> Estimate:
    """Return Gwet's AC1 with its large-sample interval, for two readers.

    K. L. Gwet, British Journal of Mathematical and Statistical Psychology 61 (2008), 29-48. The images are not a sample
    of a finite set, so its factor (1 - f) is 1. The limits use the normal distribution, as the paper does; the R package
    irrCAC takes Student's t instead.
    """
    known = _shares(table)
    if isinstance(known, str):
        return Estimate(None, why_not=known)
    shares, rows, columns, images = known
    categories = len(shares)
    usual = [(row + column) / 2 for row, column in zip(rows, columns, strict=True)]
    by_chance = sum(share * (1 - share) for share in usual) / (categories - 1)
    same = sum(row[place] for place, row in enumerate(shares))
    ac1 = (same - by_chance) / (1 - by_chance)
    alike = sum(shares[place][place] * (1 - usual[place]) for place in range(categories)) / (categories - 1)
    spread = (
        sum(
            share * (1 - (usual[first] + usual[second]) / 2) ** 2
            for first, row in enumerate(shares)
            for second, share in enumerate(row)
        )
        / (categories - 1) ** 2
    )
    variance = (
        same * (1 - same)
        - 4 * (1 - ac1) * (alike - same * by_chance)
        + 4 * (1 - ac1) ** 2 * (spread - by_chance**2)
    )
    return _with_interval(ac1, variance / (images * (1 - by_chance) ** 2))


def _shares(table: Table) -> tuple[list[list[float]], list[float], list[float], int] | str:
    """Return the table as shares, with the sums of rows and columns and the number of images; or why there are none."""
    images = sum(map(sum, table))
    if not images:
        return _NOTHING_READ
    if len(table) < 2:  # noqa: PLR2004 - two findings to choose from
        return _ONE_CATEGORY
    shares = [[count / images for count in row] for row in table]
    return shares, [sum(row) for row in shares], [sum(column) for column in zip(*shares, strict=True)], images


def _with_interval(value: float, variance: float) -> Estimate:
    """Return the figure with the limits of the normal distribution, inside -1 to 1."""
    # Sums of floats that should cancel leave a rest.
    if variance < 1e-14:  # noqa: PLR2004
        return Estimate(value, why_not=_NO_SPREAD)
    error = math.sqrt(variance)
    return Estimate(value, max(-1.0, value - Z * error), min(1.0, value + Z * error), error)
