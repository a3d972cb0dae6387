"""What an evaluation found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.evaluation.text import percent

Json = dict[str, Any]

_COIN = 0.5
# From here on a reader must look before believing anything.
_MANY_TURNED_AWAY = 0.02
_FEW_PATIENTS = 30


def in_short(document: Json) -> Iterator[str]:
    """What was found."""
    counts = document["confusion"]
    sick = counts["true_positive"] + counts["false_negative"]
    well = counts["true_negative"] + counts["false_positive"]
    yield (
        f"{document['n']:,} images of {document['patients']:,} patients were scored; {sick:,} of them "
        f"({percent(sick / document['n'])}) show pneumonia, by their labels."
    )
    if sick:
        yield (
            f"At the operating point {document['operating_point']['name']}, it calls {counts['true_positive']:,} of "
            f"{sick:,} images with pneumonia positive: {_percent(document, 'recall')}. It misses "
            f"{counts['false_negative']:,}."
        )
    if well:
        yield (
            f"Of {well:,} images without, it calls {counts['true_negative']:,} negative: "
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
        f"Scores differ from frequencies by {document['ece']:.3f} on average; that is {more} chance explains "
        f"({document['ece_by_chance']:.3f})."
    )


def to_be_looked_at(document: Json) -> Iterator[str]:
    """What must be known before any figure is believed."""
    if document["auc"] is None:
        yield "There is only one kind of image here, so most figures are not defined."
    else:
        yield from _no_better_than_chance(*document["auc_ci"])
    share = document["turned_away"] / (document["n"] + document["turned_away"])
    if share > _MANY_TURNED_AWAY:
        yield (
            f"{document['turned_away']:,} images ({percent(share)}) were turned away and are in no figure: see the "
            "list below, and do not take the figures for those of the whole set."
        )
    if document["patients"] < _FEW_PATIENTS:
        yield f"Only {document['patients']} patients: these figures say little."


def _cleared(document: Json) -> str:
    clear = document["verdicts"]["clear"]
    missed = document["verdicts_by_truth"]["pneumonia"]["clear"]
    if not clear:
        return "It clears none of the images."
    low, high = document["per_1000"][0]["pneumonia_among_clear_ci"]
    interval = "" if low is None else f" (95\u00a0% interval {percent(low)} to {percent(high)})"
    return (
        f"Of {clear:,} images that it clears, {missed:,} show pneumonia: {percent(missed / clear)}{interval}."
    )


def _no_better_than_chance(low: float, high: float) -> Iterator[str]:
    if high < _COIN:
        yield "On these images the ranking is worse than chance: do not use this model for such images."
    elif low <= _COIN:
        yield (
            f"The AUC's interval, {low:.3f} to {high:.3f}, holds 0.5: on these images the model is not shown to "
            "be better than chance."
        )


def _percent(document: Json, name: str) -> str:
    low, high = document[f"{name}_ci"]
    return f"{percent(document[name])} (95\u00a0% interval {percent(low)} to {percent(high)})"
