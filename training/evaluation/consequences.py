"""What an operating point does to a reading queue: verdicts by truth, and what 1,000 images would bring."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from training.evaluation.metrics import LabelledScores
from training.evaluation.ranking import Flags
from training.evaluation.shares import Share, shares
from worker.inference.bundle import LABELS, Bundle
from worker.inference.triage import OperatingPoint, Verdict, triage

PNEUMONIA, NORMAL = "pneumonia", "normal"
_THOUSAND = 1000
_LEVELS = (2.5, 97.5)


def counted(scored: LabelledScores, point: OperatingPoint) -> dict[str, int]:
    """How many images get each verdict."""
    found = Counter(_verdicts(scored, point))
    return {verdict.value: found[verdict] for verdict in Verdict}


def by_truth(scored: LabelledScores, point: OperatingPoint) -> dict[str, dict[str, int]]:
    """How many images of each truth get each verdict; bacterial and viral where they are known."""
    masks = {NORMAL: ~scored.pneumonia, PNEUMONIA: scored.pneumonia}
    masks |= {LABELS[subtype]: scored.subtype == subtype for subtype in (1, 2)}
    return {
        truth: counted(scored.at(mask), point)
        for truth, mask in masks.items()
        if mask.any() or truth in {NORMAL, PNEUMONIA}
    }


def at_each_point(scored: LabelledScores, bundle: Bundle, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Sensitivity (`recall`), specificity and precision at each operating point, with intervals."""
    sick = scored.pneumonia
    masks: dict[str, tuple[Flags, Flags]] = {}
    for name, point in bundle.operating_points.items():
        called = scored.p >= point.threshold
        asked = {"recall": (called, sick), "specificity": (~called, ~sick), "precision": (sick, called)}
        masks |= {f"{name} {metric}": each for metric, each in asked.items()}
    found = shares(scored, masks, repeats, seed)
    return [
        described(point)
        | _said("recall", found[f"{name} recall"])
        | _said("specificity", found[f"{name} specificity"])
        | _said("precision", found[f"{name} precision"])
        for name, point in bundle.operating_points.items()
    ]


def described(point: OperatingPoint) -> dict[str, Any]:
    """An operating point as the document names it."""
    return {
        "name": point.name,
        "threshold": point.threshold,
        "band_low": point.band_low,
        "band_high": point.band_high,
    }


def verdict_shares(
    scored: LabelledScores, point: OperatingPoint, repeats: int, seed: int
) -> dict[str, Share]:
    """The share of each verdict within each truth, by `<truth> <verdict>`."""
    given = np.array(_verdicts(scored, point))
    wholes = {PNEUMONIA: scored.pneumonia, NORMAL: ~scored.pneumonia}
    masks = {
        f"{truth} {verdict}": (given == verdict, whole)
        for truth, whole in wholes.items()
        for verdict in Verdict
    }
    return shares(scored, masks, repeats, seed)


def per_1000(found: dict[str, Share], prevalence: float) -> dict[str, Any]:
    """What 1,000 images would bring if so many of them showed pneumonia, by Bayes' rule.

    Args:
        found: from `verdict_shares`; they are taken to hold elsewhere.
        prevalence: share of images with pneumonia, 0..1.

    Returns:
        `pneumonia` and `normal` with the number of images of each verdict, and
        `pneumonia_among_<verdict>`, 0..1; each with `_ci` beside it, and None without a class.
    """
    said: dict[str, Any] = {"prevalence": prevalence}
    for truth, part in ((PNEUMONIA, prevalence), (NORMAL, 1 - prevalence)):
        said[truth] = {}
        for verdict in Verdict:
            said[truth] |= _said(verdict.value, found[f"{truth} {verdict}"], _THOUSAND * part)
    for verdict in Verdict:
        sick, well = found[f"{PNEUMONIA} {verdict}"], found[f"{NORMAL} {verdict}"]
        said |= _said(f"pneumonia_among_{verdict}", _among(sick, well, prevalence))
    return said


def _among(sick: Share, well: Share, prevalence: float) -> Share:
    """The share of pneumonia among the images of a verdict.

    Its interval is that of the bootstrap, and at least as wide as those of the two shares that it
    is made of: without one false alarm in the set, the bootstrap alone would exclude any.
    """
    value, drawn = _bayes(sick.value, well.value, prevalence), _bayes(sick.drawn, well.drawn, prevalence)
    ends = [value]
    if not np.isnan(drawn).all():
        ends += list(np.nanpercentile(drawn, _LEVELS))
    ends += [_bayes(end, well.value, prevalence) for end in (sick.low, sick.high)]
    ends += [_bayes(sick.value, end, prevalence) for end in (well.low, well.high)]
    ends = [end for end in ends if not np.isnan(end)]
    return Share(float(value), float(min(ends, default=value)), float(max(ends, default=value)), drawn)


def _bayes(sick: Any, well: Any, prevalence: float) -> Any:
    hits = prevalence * np.asarray(sick)
    everyone = np.asarray(hits + (1 - prevalence) * np.asarray(well))
    return np.divide(hits, everyone, out=np.full_like(everyone, np.nan), where=everyone > 0)


def _said(name: str, share: Share, factor: float = 1.0) -> dict[str, Any]:
    if np.isnan(share.value):
        return {name: None, f"{name}_ci": [None, None]}
    return {name: factor * share.value, f"{name}_ci": [factor * share.low, factor * share.high]}


def _verdicts(scored: LabelledScores, point: OperatingPoint) -> list[Verdict]:
    return [triage(float(p), point) for p in scored.p]
