"""How the keys and the values of a model's card are said in a text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomli_w

from worker.card.schema import Card

Json = Mapping[str, Any]
Path = tuple[str, ...]

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
    "cpu_percent": "CPU limit in per cent",
}
# What an ending of a set's name means.
_KINDS = {
    "stressed": "each image in variants of exposure, contrast, blur, noise, JPEG quality, crop and rotation",
    "restyled": "each image with the sharpness and the haze of one of the other class, so that to read the class "
    "from them is to be wrong",
}
_ENDS = 2
# A list of numbers as tomli-w writes it, one a line.
_NUMBERS = re.compile(r"\[\n([-+.,\w\s]+?),\n\]")


def label(name: str) -> str:
    """What a metric, a set or another key of the card is called in a text."""
    return _LABELS.get(name) or name.replace("_", " ")


def title(name: str) -> str:
    """The same at the beginning of a line."""
    said = label(name)
    return said[:1].upper() + said[1:]


def explained(names: Iterable[str]) -> str:
    """What the endings of the names of sets mean, in a sentence; empty where there is none."""
    ending = {name.rpartition("_")[2] for name in names}
    return "; ".join(f"{kind}: {what}" for kind, what in _KINDS.items() if kind in ending)


def rows_of(found: object, *, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """The plain values of a section and of what lies in it, as label and text; without the keys `but`."""
    return [(" ".join(map(label, path)), _said(path, value)) for path, value in _leaves(found, but=but)]


def tables_of(found: Json, *, but: tuple[str, ...] = ()) -> dict[str, list[list[str]]]:
    """Lists of sections, for instance of ablations, as tables: first the keys, then a row for each."""
    return {name: _table(each) for name, each in found.items() if name not in but and _is_table(each)}


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


def _is_table(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(each, Mapping) for each in found)


def _table(found: list[Json]) -> list[list[str]]:
    keys = list(dict.fromkeys(key for each in found for key in each))
    return [
        [title(key) for key in keys],
        *([_said((key,), each.get(key, "")) for key in keys] for each in found),
    ]


def _said(path: Path, value: object) -> str:
    # A seed is a name made of digits, not a quantity.
    return ", ".join(map(str, _listed(value))) if "seed" in "".join(path[-1:]) else _written(value)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " to ".join(map(_written, value)) if _is_range(value) else ", ".join(map(_written, value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_range(value: list[object]) -> bool:
    return len(value) == _ENDS and all(isinstance(each, float) for each in value)


def _leaves(found: object, above: Path = (), *, but: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield every plain value, and every list of plain values, with the keys that lead to it.

    Nulls and lists of sections are left out, and so are the uppermost keys in `but`.
    """
    if isinstance(found, Mapping):
        for name, inner in found.items():
            if name not in but:
                yield from _leaves(inner, (*above, str(name)))
    elif isinstance(found, list):
        if not any(isinstance(inner, dict | list) for inner in found):
            yield above, found
    elif found is not None:
        yield above, found
