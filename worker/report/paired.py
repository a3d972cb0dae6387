"""Compares two models on the same images: sensitivity, specificity, and their differences with intervals. Pure.

The images form two strata. Those with a verdict that makes people read them were all read. Of the clear ones, a random
sample was read, so each of these stands for several: its weight is the number of clear images for each one of the sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from worker.report.agreement import Estimate

_RESAMPLES = 10_000
_SEED = 20_261_127
_ENDS = (2.5, 97.5)
# What is added to each number before shares are drawn from it.
_OF_SIZES, _OF_KIND = 1 / 2, 1 / 5
# With signs or without, positive or not by the first model and by the second: eight kinds of pairs.
_KINDS = [(signs, a, b) for signs in (True, False) for a in (True, False) for b in (True, False)]


class Stratum(StrEnum):
    """Why an image was read: its verdict asked for a reader, or it was drawn from the clear ones."""

    SHOWN = "shown"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Pair:
    """An image that both models scored and people read to the end.

    Attributes:
        stratum: why it was read.
        signs: whether the reading in force says that it has signs of pneumonia.
        a, b: whether each model would have a person read it: it is flagged or uncertain.
    """

    stratum: Stratum
    signs: bool
    a: bool
    b: bool


@dataclass(frozen=True)
class Compared:
    """The share of both models and the difference b - a, each with a 95 % interval, and what they rest on.

    `images` is the number of pairs with signs (for the sensitivity) or without (for the specificity).
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    images: int
    only_a: int
    only_b: int


@dataclass(frozen=True)
class PairedFigures:
    """Sensitivity and specificity of two models on the same images."""

    sensitivity: Compared
    specificity: Compared


def compare(pairs: Sequence[Pair], shown: int, clear: int) -> PairedFigures:
    """Compare two models on pairs from a set with `shown` images to read and `clear` clear ones.

    Intervals: the Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9 (1981), 130-134) over the eight kinds of pairs
    within each stratum, and over the sizes of the strata: 10,000 draws with a fixed seed, so that the same images give the
    same figures. The difference is computed within each draw, so it is a paired one. A fifth of an image is added to each
    kind, so that a kind that the sample happens not to hold is not taken to be impossible: of the amounts that were tried
    (1/8, 1/5, 0.3), the smallest with which the intervals covered the truth often enough. `docs/models.md` says how often.

    Without a pair of a stratum that has images, nothing is known.
    """
    counts = {stratum: _counts(pairs, stratum) for stratum in Stratum}
    sizes = {Stratum.SHOWN: shown, Stratum.SAMPLE: clear}
    why_not = _why_not(counts, sizes)
    draws = None if why_not else _draws(counts, sizes)
    point = None if why_not else _shares(counts, sizes)
    return PairedFigures(
        _compared(pairs, point, draws, why_not, signs=True),
        _compared(pairs, point, draws, why_not, signs=False),
    )


def _compared(
    pairs: Sequence[Pair],
    point: NDArray[np.float64] | None,
    draws: NDArray[np.float64] | None,
    why_not: str,
    *,
    signs: bool,
) -> Compared:
    """Return sensitivity (of the images with signs) or specificity (of those without)."""
    of_kind = [pair for pair in pairs if pair.signs == signs]
    # A model is right on an image with signs if it is positive, on one without if it is not.
    only_a = sum(pair.a == signs and pair.b != signs for pair in of_kind)
    only_b = sum(pair.b == signs and pair.a != signs for pair in of_kind)
    if point is None or draws is None or not of_kind:
        none_read = (
            f"No image {'with' if signs else 'without'} signs of pneumonia was read and scored by both."
        )
        unknown = Estimate(None, why_not=why_not or none_read)
        return Compared(unknown, unknown, unknown, len(of_kind), only_a, only_b)
    right_a = _share_right(draws, signs=signs, first=True)
    right_b = _share_right(draws, signs=signs, first=False)
    at_a = float(_share_right(point, signs=signs, first=True)[0])
    at_b = float(_share_right(point, signs=signs, first=False)[0])
    return Compared(
        _estimate(at_a, right_a),
        _estimate(at_b, right_b),
        _estimate(at_b - at_a, right_b - right_a),
        len(of_kind),
        only_a,
        only_b,
    )


def _counts(pairs: Sequence[Pair], stratum: Stratum) -> NDArray[np.float64]:
    """Return the number of pairs of each kind: shape (8,)."""
    counted = Counter((pair.signs, pair.a, pair.b) for pair in pairs if pair.stratum is stratum)
    return np.array([counted[kind] for kind in _KINDS], dtype=np.float64)


def _why_not(counts: dict[Stratum, NDArray[np.float64]], sizes: dict[Stratum, int]) -> str:
    if sizes[Stratum.SAMPLE] and not counts[Stratum.SAMPLE].sum():
        return "No clear image of a random sample was read and scored by both models, so nobody knows what each would miss."
    if sizes[Stratum.SHOWN] and not counts[Stratum.SHOWN].sum():
        return "No flagged or uncertain image was read and scored by both models."
    if not sum(sizes.values()):
        return "No run was read to the end."
    return ""


def _shares(counts: dict[Stratum, NDArray[np.float64]], sizes: dict[Stratum, int]) -> NDArray[np.float64]:
    """Return the estimated number of images of each kind in the whole set: shape (1, 8)."""
    total = sum(
        sizes[stratum] * counts[stratum] / counts[stratum].sum() for stratum in Stratum if sizes[stratum]
    )
    return np.asarray(total, dtype=np.float64).reshape(1, -1)


def _draws(counts: dict[Stratum, NDArray[np.float64]], sizes: dict[Stratum, int]) -> NDArray[np.float64]:
    """Return draws of the number of images of each kind in the whole set: shape (draws, 8)."""
    random = np.random.default_rng(_SEED)
    total = np.zeros((_RESAMPLES, len(_KINDS)))
    # Among further images, the strata would not have exactly these sizes, either.
    shares = random.dirichlet([sizes[stratum] + _OF_SIZES for stratum in Stratum], _RESAMPLES)
    for column, stratum in enumerate(Stratum):
        if sizes[stratum]:
            kinds = random.dirichlet(counts[stratum] + _OF_KIND, _RESAMPLES)
            total += shares[:, [column]] * kinds
    return total


def _share_right(numbers: NDArray[np.float64], *, signs: bool, first: bool) -> NDArray[np.float64]:
    """Return the share of images with or without signs on which a model is right: shape (draws,)."""
    of_kind = np.array([kind[0] == signs for kind in _KINDS])
    right = np.array([kind[0] == signs and kind[1 if first else 2] == signs for kind in _KINDS])
    return np.asarray(numbers[:, right].sum(axis=1) / numbers[:, of_kind].sum(axis=1))


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(draws, _ENDS)
    return Estimate(value, float(min(low, value)), float(max(high, value)))
