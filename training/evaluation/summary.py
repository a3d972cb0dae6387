"""The results of an evaluation in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.evaluation.text import percent

Json = dict[str, Any]

_COIN = 0.5
# Above this share of rejected images, below this number of patients, a reader gets a warning.
_MANY_REJECTED = 0.02
_FEW_PATIENTS = 30


def summary(document: Json) -> Iterator[str]:
    """Yield the results."""
    counts = document["confusion"]
    sick = counts["true_positive"] + counts["false_negative"]
    well = counts["true_negative"] + counts["false_positive"]
    yield (
        f"{document['n']:,} images of {document['patients']:,} patients were scored; {sick:,} of them "
        f"({percent(sick / document['n'])}) are labelled with pneumonia."
    )
    if sick:
        yield (
            f"At the operating point {document['operating_point']['name']}, the model classifies {counts['true_positive']:,} of "
            f"{sick:,} images with pneumonia as positive: {_percent(document, 'recall')}. It misses "
            f"{counts['false_negative']:,}."
        )
    if well:
        yield (
            f"It classifies {counts['true_negative']:,} of {well:,} images without pneumonia as negative: "
            f"{_percent(document, 'specificity')}. It raises {counts['false_positive'] or 'no'} false alarms."
        )
    yield _cleared(document)
    if document["auc"] is not None:
        low, high = document["auc_ci"]
        yield (
            "A random image with pneumonia scores above a random one without "
            f"{percent(document['auc'])} of the time (AUC {document['auc']:.3f}, 95\u00a0% interval {low:.3f} to {high:.3f})."
        )
    more = "more than" if document["ece_ci"][0] > document["ece_by_chance"] else "no more than"
    yield (
        f"Scores differ from frequencies by {document['ece']:.3f} on average, {more} chance alone would explain "
        f"({document['ece_by_chance']:.3f})."
    )


def warnings(document: Json) -> Iterator[str]:
    """Yield what a reader must know before relying on any figure."""
    if document["auc"] is None:
        yield "All images have the same label, so most figures are not defined."
    else:
        yield from _no_better_than_chance(*document["auc_ci"])
    share = document["turned_away"] / (document["n"] + document["turned_away"])
    if share > _MANY_REJECTED:
        yield (
            f"{document['turned_away']:,} images ({percent(share)}) were rejected and are in no figure: the figures do not "
            "describe the whole set. The list below gives the reasons."
        )
    if document["patients"] < _FEW_PATIENTS:
        yield f"The set has only {document['patients']} patients: these figures are very uncertain."


def _cleared(document: Json) -> str:
    clear = document["verdicts"]["clear"]
    missed = document["verdicts_by_truth"]["pneumonia"]["clear"]
    if not clear:
        return "It clears no image."
    low, high = document["per_1000"][0]["pneumonia_among_clear_ci"]
    interval = "" if low is None else f" (95\u00a0% interval {percent(low)} to {percent(high)})"
    return f"It clears {clear:,} images, of which {missed:,} show pneumonia: {percent(missed / clear)}{interval}."


def _no_better_than_chance(low: float, high: float) -> Iterator[str]:
    if high < _COIN:
        yield "On these images the ranking is worse than chance: do not use the model for such images."
    elif low <= _COIN:
        yield (
            f"The interval of the AUC, {low:.3f} to {high:.3f}, contains 0.5: on these images the model is not shown to "
            "be better than chance."
        )


def _percent(document: Json, name: str) -> str:
    low, high = document[f"{name}_ci"]
    return f"{percent(document[name])} (95\u00a0% interval {percent(low)} to {percent(high)})"
