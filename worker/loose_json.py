"""JSON that somebody else wrote: what is there and of the kind that is wanted, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
Path = tuple[str, ...]


def part(found: object, name: str) -> Json:
    """A section; empty if it is not there."""
    inner = found.get(name) if isinstance(found, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def text(found: object, name: str) -> str:
    """A text; empty if it is not there."""
    inner = found.get(name) if isinstance(found, Mapping) else None
    return inner if isinstance(inner, str) else ""


def texts(found: object, name: str) -> list[str]:
    """The texts of a list; empty if it is not there."""
    inner = found.get(name) if isinstance(found, Mapping) else None
    return [each for each in inner if isinstance(each, str)] if isinstance(inner, list) else []


def number(value: object) -> float | None:
    """A number as such; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(value: object) -> int | None:
    """A whole number as such; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def numbers(values: object) -> list[float]:
    """A list of nothing but numbers; empty for anything else."""
    found = [number(value) for value in values] if isinstance(values, list) else []
    kept = [value for value in found if value is not None]
    return kept if len(kept) == len(found) else []


def leaves(found: object, above: Path = (), *, but: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every plain value, and every list of plain values, with the keys that lead to it.

    What is null, and a list of sections, is left out, and so are the uppermost keys in `but`.
    """
    if isinstance(found, Mapping):
        for name, inner in found.items():
            if name not in but:
                yield from leaves(inner, (*above, str(name)))
    elif isinstance(found, list):
        if not any(isinstance(inner, dict | list) for inner in found):
            yield above, found
    elif found is not None:
        yield above, found
