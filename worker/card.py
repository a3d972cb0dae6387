"""A model's card as people read it: the same figures for the bundle's README and for the page Models.

Pure. A card is JSON that another version of this program may have written: what is missing, or is
not of the kind that is expected, is left out, and what is not known by name is shown by its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker.card_text import label, rows_of
from worker.loose_json import Json, count, number, numbers, part, text

# Measurements by these names are not those of scores on a set of images, whatever they hold.
_NO_SETS = ("parity_with_reference", "quantisation", "second_look", "gate", "speed")
_INTERVAL = "_ci"
_ENDS = 2


@dataclass(frozen=True)
class Figure:
    """A metric and its 95 % interval; None where it is not defined, for want of a class."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "\N{EN DASH}"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class FigureSet:
    """What a model is worth on one set of images.

    Attributes:
        name: its key on the card, or the group's.
        n: images.
        patients: whose they are; None: not said.
        prevalence: share of pneumonia among them.
        turned_away: images that the gate did not let through; they are in no figure.
        figures: by metric. None of them where the group is too small to say.
        subgroups: by trait, for instance `sex`.
    """

    name: str
    n: int
    patients: int | None
    prevalence: float | None
    turned_away: int | None
    figures: dict[str, Figure]
    subgroups: dict[str, list[FigureSet]]


@dataclass(frozen=True)
class Point:
    """An operating point, with what is expected of it; None: not measured."""

    name: str
    is_default: bool
    threshold: float
    band_low: float
    band_high: float
    sensitivity: float | None
    specificity: float | None
    flagged_share: float | None


@dataclass(frozen=True)
class Spread:
    """How much a figure differs from seed to seed, or from fold to fold."""

    name: str
    mean: float
    sd: float | None
    values: list[float]


@dataclass(frozen=True)
class Curves:
    """Points to draw for one set of images: pairs of (x, y), both 0..1.

    `roc` has 1 - specificity and sensitivity, `reliability` the mean score of a bin and the share
    of pneumonia in it.
    """

    name: str
    roc: list[tuple[float, float]]
    reliability: list[tuple[float, float]]


@dataclass(frozen=True)
class Dataset:
    """Images that the model was trained or measured on; `role` says which."""

    role: str
    name: str
    source: str
    licence: str
    note: str


@dataclass(frozen=True)
class File:
    """A file of the bundle."""

    name: str
    sha256: str
    bytes: int | None


def figure_sets(card: Json) -> list[FigureSet]:
    """The sets of images that the card has metrics of."""
    metrics = part(card, "metrics").items()
    return [_figure_set(name, found) for name, found in metrics if _is_set(name, found)]


def particulars(card: Json) -> dict[str, list[tuple[str, str]]]:
    """Measurements that are no set of images: parity, the gate's rates. By name, each with its rows."""
    metrics = part(card, "metrics").items()
    others = {name: found for name, found in metrics if not _is_set(name, found)}
    others |= {name: card[name] for name in _NO_SETS if name in card}
    return {name: rows for name, found in others.items() if (rows := rows_of(found))}


def operating_points(card: Json) -> list[Point]:
    """The operating points, the lowest threshold first."""
    default = card.get("default_operating_point")
    points = (_point(name, found, default) for name, found in part(card, "operating_points").items())
    return sorted((each for each in points if each is not None), key=lambda point: point.threshold)


def spreads(card: Json) -> list[Spread]:
    """The section `spread`: metrics, or sets of images with metrics."""
    return list(_spreads(part(card, "spread"), ()))


def curves(card: Json) -> list[Curves]:
    """The section `curves`, less what cannot be drawn."""
    return [
        Curves(name, _roc(part(found, "roc")), _reliability(part(found, "reliability")))
        for name, found in part(card, "curves").items()
        if isinstance(found, Mapping)
    ]


def datasets(card: Json) -> list[Dataset]:
    """The section `data`: one data set, or a list of them, for each role."""
    named = part(card, "data").items()
    pairs = [
        (role, each) for role, found in named for each in (found if isinstance(found, list) else [found])
    ]
    return [
        Dataset(label(role), *(text(each, key) for key in ("name", "source", "licence", "note")))
        for role, each in pairs
        if isinstance(each, Mapping) and text(each, "name")
    ]


def files(card: Json) -> list[File]:
    """The files of the bundle, with their hashes."""
    named = part(card, "files").items()
    found = (
        File(name, text(each, "sha256"), count(each.get("bytes")))
        for name, each in named
        if isinstance(each, Mapping)
    )
    return [file for file in found if file.sha256]


def _is_set(name: str, found: object) -> bool:
    if not isinstance(found, Mapping) or name in _NO_SETS or count(found.get("n")) is None:
        return False
    return any(key.endswith(_INTERVAL) for key in found)


def _figure_set(name: str, found: Json) -> FigureSet:
    names = [key for key in found if f"{key}{_INTERVAL}" in found]
    return FigureSet(
        name,
        count(found.get("n")) or 0,
        count(found.get("patients")),
        number(found.get("prevalence")),
        count(found.get("turned_away")),
        {key: _figure(found[key], found[f"{key}{_INTERVAL}"]) for key in names},
        {
            trait: [_figure_set(group, each) for group, each in groups.items() if isinstance(each, Mapping)]
            for trait, groups in part(found, "subgroups").items()
            if isinstance(groups, Mapping) and groups
        },
    )


def _figure(value: object, interval: object) -> Figure:
    ends = [number(end) for end in interval] if isinstance(interval, list) else []
    return Figure(number(value), *ends) if len(ends) == _ENDS else Figure(number(value))


def _point(name: str, found: object, default: object) -> Point | None:
    if not isinstance(found, Mapping):
        return None
    threshold, low, high = (number(found.get(key)) for key in ("threshold", "band_low", "band_high"))
    if threshold is None or low is None or high is None:
        return None
    expected = (number(found.get(key)) for key in ("sensitivity", "specificity", "flagged_share"))
    return Point(name, name == default, threshold, low, high, *expected)


def _spreads(found: Json, above: tuple[str, ...]) -> Iterator[Spread]:
    for name, each in found.items():
        if not isinstance(each, Mapping):
            continue
        mean = number(each.get("mean"))
        if mean is None:
            yield from _spreads(each, (*above, name))
        else:
            said = ", ".join((*map(label, above), label(name)))
            yield Spread(said, mean, number(each.get("sd")), numbers(each.get("values")))


def _roc(found: Json) -> list[tuple[float, float]]:
    sensitivity, specificity = numbers(found.get("sensitivity")), numbers(found.get("specificity"))
    return _pairs([1 - each for each in specificity], sensitivity)


def _reliability(found: Json) -> list[tuple[float, float]]:
    return _pairs(numbers(found.get("score")), numbers(found.get("share")))


def _pairs(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    return list(zip(x, y, strict=True)) if len(x) == len(y) else []
