"""Consequences of an operating point: verdicts by true class, and expected results for 1,000 images."""

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
    """Return the number of images with each verdict."""
    counts = Counter(_verdicts(scored, point))
    return {verdict.value: counts[verdict] for verdict in Verdict}


def by_truth(scored: LabelledScores, point: OperatingPoint) -> dict[str, dict[str, int]]:
    """Return the number of images with each verdict, by true class; bacterial and viral if known."""
    masks = {NORMAL: ~scored.pneumonia, PNEUMONIA: scored.pneumonia}
    masks |= {LABELS[subtype]: scored.subtype == subtype for subtype in (1, 2)}
    return {
        truth: counted(scored.at(mask), point)
        for truth, mask in masks.items()
        if mask.any() or truth in {NORMAL, PNEUMONIA}
    }


def at_each_point(scored: LabelledScores, bundle: Bundle, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Return sensitivity (`recall`), specificity and precision at each operating point, with intervals."""
    sick = scored.pneumonia
    masks: dict[str, tuple[Flags, Flags]] = {}
    for name, point in bundle.operating_points.items():
        positive = scored.p >= point.threshold
        questions = {
            "recall": (positive, sick),
            "specificity": (~positive, ~sick),
            "precision": (sick, positive),
        }
        masks |= {f"{name} {metric}": mask for metric, mask in questions.items()}
    results = shares(scored, masks, repeats, seed)
    return [
        described(point)
        | _with_interval("recall", results[f"{name} recall"])
        | _with_interval("specificity", results[f"{name} specificity"])
        | _with_interval("precision", results[f"{name} precision"])
        for name, point in bundle.operating_points.items()
    ]


def described(point: OperatingPoint) -> dict[str, Any]:
    """Return the operating point as a section of the document."""
    return {
        "name": point.name,
        "threshold": point.threshold,
        "band_low": point.band_low,
        "band_high": point.band_high,
    }


def verdict_shares(
    scored: LabelledScores, point: OperatingPoint, repeats: int, seed: int
) -> dict[str, Share]:
    """Return the share of each verdict within each true class, by `<truth> <verdict>`."""
    verdicts = np.array(_verdicts(scored, point))
    wholes = {PNEUMONIA: scored.pneumonia, NORMAL: ~scored.pneumonia}
    masks = {
        f"{truth} {verdict}": (verdicts == verdict, whole)
        for truth, whole in wholes.items()
        for verdict in Verdict
    }
    return shares(scored, masks, repeats, seed)


def per_1000(verdict_shares: dict[str, Share], prevalence: float) -> dict[str, Any]:
    """Return the expected results for 1,000 images at a prevalence of pneumonia, by Bayes' rule.

    Args:
        verdict_shares: from the function of that name; assumed to be the same elsewhere.
        prevalence: share of images with pneumonia, 0..1.

    Returns:
        `pneumonia` and `normal` with the number of images of each verdict, and
        `pneumonia_among_<verdict>`, 0..1; each with its `_ci`. None if a class is missing.
    """
    section: dict[str, Any] = {"prevalence": prevalence}
    for truth, part in ((PNEUMONIA, prevalence), (NORMAL, 1 - prevalence)):
        section[truth] = {}
        for verdict in Verdict:
            section[truth] |= _with_interval(
                verdict.value, verdict_shares[f"{truth} {verdict}"], _THOUSAND * part
            )
    for verdict in Verdict:
        sick, well = verdict_shares[f"{PNEUMONIA} {verdict}"], verdict_shares[f"{NORMAL} {verdict}"]
        section |= _with_interval(f"pneumonia_among_{verdict}", _among(sick, well, prevalence))
    return section


def _among(sick: Share, well: Share, prevalence: float) -> Share:
    """Return the share of pneumonia among the images of a verdict.

    Its interval is the bootstrap's, and at least as wide as those of the two shares that it combines.
    Without a false alarm in the set, the bootstrap alone would exclude all false alarms.
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


def _with_interval(name: str, share: Share, factor: float = 1.0) -> dict[str, Any]:
    if np.isnan(share.value):
        return {name: None, f"{name}_ci": [None, None]}
    return {name: factor * share.value, f"{name}_ci": [factor * share.low, factor * share.high]}


def _verdicts(scored: LabelledScores, point: OperatingPoint) -> list[Verdict]:
    return [triage(float(p), point) for p in scored.p]
