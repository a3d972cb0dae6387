"""The keys and values of a model card as text for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomli_w

from worker.card.population import AgeRange
from worker.card.schema import Card

Json = Mapping[str, Any]
KeyPath = tuple[str, ...]

_LABELS = {
    "auc": "AUC",
    "recall": "sensitivity",
    "precision": "precision (PPV)",
    "f1": "F1",
    "sensitivity_at_specificity_90": "sensitivity at specificity 90 %",
    "specificity_at_sensitivity_95": "specificity at sensitivity 95 %",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "three_class_accuracy": "accuracy of three classes",
    "held_out": "children, held-out patients",
    "held_out_stressed": "children, held-out patients, stressed",
    "parity_with_reference": "served network against its reference",
    "other_adults": "adults of other patients",
    "distance": "distance from the training data",
    "beyond": "share beyond the limit,",
    "cpu_percent": "CPU limit in per cent",
    "film": "whole film",
    "both": "mean of both",
}
# Explanations of the last word of an image set's name.
_VARIANTS = {
    "stressed": "each image in variants of exposure, contrast, blur, noise, JPEG quality, crop and rotation",
    "restyled": "each image with the sharpness and the haze of an image of the other class, so that a network that "
    "decides by sharpness or haze is wrong",
}
# What each split holds out.
_SPLITS = {
    "early_numbers": "the lowest patient numbers of each file family",
    "shortcut_lies": "the images of each class that look most like the other by exposure, sharpness and file size",
    "framing_lies": "the images of each class that look most like the other by the position and size of the lungs",
}
_RANGE_ENDS = 2
# A list of numbers as tomli-w writes it, one a line.
_NUMBERS = re.compile(r"\[\n([-+.,\w\s]+?),\n\]")


def label(name: str) -> str:
    """Return the name of a metric, an image set or another key of the card as text."""
    return _LABELS.get(name) or name.replace("_", " ")


def title(name: str) -> str:
    """Return the text of `label` with a capital letter, for the start of a line."""
    text = label(name)
    return text[:1].upper() + text[1:]


def explained(names: Iterable[str]) -> str:
    """Explain the variants among the names of image sets in one sentence; empty if there are none."""
    variants = {name.rpartition("_")[2] for name in names}
    return "; ".join(f"{variant}: {meaning}" for variant, meaning in _VARIANTS.items() if variant in variants)


def splits_explained(names: Iterable[str]) -> str:
    """Explain in one sentence what each of these splits holds out; empty if none is known."""
    return "; ".join(f"{label(name)}: {_SPLITS[name]}" for name in names if name in _SPLITS)


def rows_of(section: object, *, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return the plain values of a section and of its subsections as label and text, except the keys `without`."""
    return [
        (" ".join(map(label, path)), _value_text(path, value))
        for path, value in _leaves(section, without=without)
    ]


def tables_of(section: Json, *, without: tuple[str, ...] = ()) -> dict[str, list[list[str]]]:
    """Return lists of sections, for example ablations, as tables: a header of keys, then a row for each section."""
    return {name: _table(rows) for name, rows in section.items() if name not in without and _is_table(rows)}


def population_text(card: Card) -> str:
    """Return for which patients the figures hold, as a sentence."""
    if card.population is None:
        return "The card does not say for which ages the figures hold, so no patient's age is checked."
    ages = card.population.age_years
    return f"The figures hold for patients of {AgeRange(ages.min, ages.max)}."


def recipe_text(card: Card) -> str:
    """Return the recipe as TOML, without the comments of the file that training read."""
    text = tomli_w.dumps(_without_nulls(card.recipe), indent=2)
    return _NUMBERS.sub(_on_one_line, text).rstrip("\n")


def _without_nulls(value: Any) -> Any:
    """Return a copy without nulls, which TOML does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(numbers[1].replace(',', ' ').split())}]"


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _table(rows: list[Json]) -> list[list[str]]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [
        [title(key) for key in keys],
        *([_value_text((key,), row.get(key, "")) for key in keys] for row in rows),
    ]


def _value_text(path: KeyPath, value: object) -> str:
    # A seed is written without thousands separators: it is an identifier, not a quantity.
    return ", ".join(map(str, _as_list(value))) if "seed" in "".join(path[-1:]) else _plain_text(value)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _plain_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return (
            " to ".join(map(_plain_text, value)) if _is_range(value) else ", ".join(map(_plain_text, value))
        )
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_range(value: list[object]) -> bool:
    return len(value) == _RANGE_ENDS and all(isinstance(end, float) for end in value)


def _leaves(value: object, path: KeyPath = (), *, without: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Yield every plain value, and every list of plain values, with the keys that lead to it.

    Nulls, lists of sections, and the top-level keys in `without` are omitted.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in without:
                yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, list):
        if not any(isinstance(inner, dict | list) for inner in value):
            yield path, value
    elif value is not None:
        yield path, value
