"""Shares of images with a property, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.evaluation import exact
from training.evaluation.metrics import LabelledScores, percentiles, resamples
from training.evaluation.ranking import Flags, Floats


@dataclass(frozen=True)
class Share:
    """A share of some images, with its 95 % interval.

    Attributes:
        value: 0..1, or NaN without such images.
        low: lower end of the interval.
        high: upper end of the interval.
        drawn: the resampled shares, shape (repeats,); NaN without such images.
    """

    value: float
    low: float
    high: float
    drawn: Floats


def shares(
    scored: LabelledScores, masks: Mapping[str, tuple[Flags, Flags]], repeats: int, seed: int
) -> dict[str, Share]:
    """Compute several shares and their intervals in one bootstrap.

    Args:
        scored: the images.
        masks: by name, images with the property, and images to consider, each of shape (n,).
        repeats: of the bootstrap.
        seed: of the bootstrap.
    """
    order = np.argsort(scored.p, kind="stable")
    wholes = np.stack([whole for _, whole in masks.values()], axis=1)[order].astype(np.float64)
    parts = wholes * np.stack([part for part, _ in masks.values()], axis=1)[order]
    once = np.ones((1, len(scored)))
    weights = (sample.weight.astype(np.float64) for sample in resamples(scored, repeats, seed))
    drawn = np.array([_quotients(weight @ parts, weight @ wholes) for weight in weights])
    values = _quotients(once @ parts, once @ wholes)[0]
    patients = [len(np.unique(scored.patient[whole])) for _, whole in masks.values()]
    return {
        name: _as_share(*results)
        for name, *results in zip(masks, values, drawn.reshape(repeats, -1).T, patients, strict=True)
    }


def _as_share(value: float, drawn: Floats, patients: int) -> Share:
    low, high = percentiles(drawn[~np.isnan(drawn)], float(value))
    least, most = exact.share(patients)
    return Share(float(value), min(low, value, least), max(high, value, most), drawn)


def _quotients(parts: Floats, wholes: Floats) -> Floats:
    return np.divide(parts, wholes, out=np.full_like(wholes, np.nan), where=wholes > 0)
