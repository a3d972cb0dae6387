"""Compares the share of flagged images with the one that a model card expects. Pure."""

from __future__ import annotations

import math

from worker.card.reading import Point

# A share counts as far from the expected one if chance alone gives such a difference, or a larger one, less often than
# this, and if it differs by so much: with many images, the smallest difference is no chance.
RARE, FAR = 0.001, 0.1
_NEGLIGIBLE = 1e-12


def unexpected_share(flagged: int, scored: int, point: Point) -> str | None:
    """Return sentences if a run has many more or fewer flagged images than the card expects; None otherwise.

    Args:
        flagged: scored images with the verdict *flagged*: from the upper end of the point's band.
        scored: scored images.
        point: the operating point of the card that was in force.
    """
    expected = point.flagged_share
    if not scored or expected is None or not 0 < expected < 1:
        return None
    share = flagged / scored
    if abs(share - expected) < FAR or two_sided(flagged, scored, expected) >= RARE:
        return None
    told = (
        f"{flagged} of {scored} scored images are flagged ({share:.0%}). "
        f"The model card expects {expected:.0%} with the patients that it was measured on."
    )
    return f"{told} {_explanation(flagged, scored, point, expected)}".strip()


def two_sided(count: int, total: int, share: float) -> float:
    """Return the exact binomial probability of a count as far from `total` x `share` as this: twice the smaller tail.

    C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413. The terms of a tail are summed until they add nothing,
    which takes a few times the square root of `total`.
    """
    if count >= total * share:
        return min(1.0, 2 * _upper_tail(count, total, share))
    return min(1.0, 2 * _upper_tail(total - count, total, 1 - share))


def prevalence_of(share: float, point: Point) -> float | None:
    """Return the prevalence at which the point flags this share; None if it has no figures for what it flags.

    W. J. Rogan and B. Gladen, American Journal of Epidemiology 107 (1978), 71-76. It is below 0 or above 1 if no
    prevalence explains the share.
    """
    if point.sensitivity is None or point.specificity is None or point.threshold != point.band_high:
        return None
    youden = point.sensitivity + point.specificity - 1
    return (share + point.specificity - 1) / youden if youden > 0 else None


def _explanation(flagged: int, scored: int, point: Point, expected: float) -> str:
    here, there = prevalence_of(flagged / scored, point), prevalence_of(expected, point)
    if here is None or there is None:
        return ""
    if 0 <= here <= 1:
        return (
            f"It fits if {here:.0%} of these patients have pneumonia; of the patients of the card, {there:.0%} had it. "
            "If that is not so here, the model does not know such images."
        )
    return (
        "At the sensitivity and specificity of the card, no share of patients with pneumonia explains this: "
        "check whose images these are, and how they were made."
    )


def _upper_tail(count: int, total: int, share: float) -> float:
    """Return the probability of `count` or more; `count` must not be below the mean."""
    log_choices = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    term = math.exp(log_choices + count * math.log(share) + (total - count) * math.log1p(-share))
    tail = 0.0
    while count <= total and term > _NEGLIGIBLE * tail:
        tail += term
        term *= (total - count) / (count + 1) * share / (1 - share)
        count += 1
    return tail
