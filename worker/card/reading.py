"""The content of a model card for people: figures, operating points, curves, data.

The README of a bundle and the Models page show it. Unknown names of metrics, image sets and sections are
shown as they are. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from worker.card.schema import Card, DatasetSection, ImageSetSection, PointSection, SpreadSection
from worker.card.text import label, rows_of

S = TypeVar("S", bound=BaseModel)
# Measurements with these names are never metrics on a set of images, whatever keys they have.
_NOT_IMAGE_SETS = ("parity_with_reference", "quantisation", "second_look", "gate", "distance", "speed")
_INTERVAL_SUFFIX = "_ci"
_INTERVAL_ENDS = 2
_LOWEST = {"sensitivity", "sensitivity_in", "specificity", "specificity_in"}


@dataclass(frozen=True)
class Figure:
    """A metric and its 95 % interval; None where it is undefined because a class is missing."""

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
    """The metrics of a model on one set of images.

    Attributes:
        name: key of the set, or of the subgroup, on the card.
        n: number of images.
        patients: number of patients; None if unknown.
        prevalence: share of images with pneumonia, 0..1.
        turned_away: number of images that the gate rejected; no figure includes them.
        figures: by metric; empty if a subgroup is too small.
        subgroups: by trait, for example `sex`.
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
    """An operating point with its expected sensitivity, specificity and flagged share; None: not measured."""

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
    """How much a metric differs between seeds or folds."""

    name: str
    mean: float
    sd: float | None
    values: list[float]


@dataclass(frozen=True)
class Curves:
    """The diagrams of one set of images as pairs (x, y), both 0..1.

    `roc` has 1 - specificity and sensitivity; `reliability` has the mean score of each bin and the share of
    pneumonia in it.
    """

    name: str
    roc: list[tuple[float, float]]
    reliability: list[tuple[float, float]]


@dataclass(frozen=True)
class Split:
    """The figures of a split's held-out images, which differ from the training images on purpose.

    Attributes:
        name: key of the split on the card.
        sets: by condition: plain, stressed, restyled.
    """

    name: str
    sets: list[FigureSet]


@dataclass(frozen=True)
class NetworkFigures:
    """Metrics of one network of a model on a set of images, or of the mean of its networks."""

    image_set: str
    network: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Lowest:
    """The lowest sensitivity and specificity of an operating point in any condition, each with its condition."""

    point: str
    sensitivity: float
    sensitivity_in: str
    specificity: float
    specificity_in: str


@dataclass(frozen=True)
class Dataset:
    """A data set that the model was trained or measured on; `role` says which of the two."""

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


def read_card(raw: object) -> Card:
    """Return a card for people, whatever `raw` holds; what is malformed counts as missing."""
    return Card.model_validate(raw if isinstance(raw, dict) else {})


def figure_sets(card: Card) -> list[FigureSet]:
    """Return the sets of images that the card has metrics of."""
    return [_figure_set(name, section) for name, section in _sets(card).items()]


def particulars(card: Card) -> dict[str, list[tuple[str, str]]]:
    """Return all other measurements as rows, by name: for example parity with the reference, and the gate."""
    sets = _sets(card)
    others = {name: section for name, section in card.metrics.items() if name not in sets}
    others |= {name: section for name, section in (card.model_extra or {}).items() if name in _NOT_IMAGE_SETS}
    return {name: rows for name, section in others.items() if (rows := rows_of(section))}


def operating_points(card: Card) -> list[Point]:
    """Return the operating points, the lowest threshold first."""
    default = card.default_operating_point
    points = [_point(name, section, name == default) for name, section in card.operating_points.items()]
    return sorted(points, key=lambda point: point.threshold)


def spreads(card: Card) -> list[Spread]:
    """Return the section `spread`, which groups metrics by name, or by set of images and name."""
    return list(_spreads(card.spread, ()))


def curves(card: Card) -> list[Curves]:
    """Return the section `curves`; a diagram whose lists differ in length has no points."""
    return [
        Curves(
            name,
            _pairs([1 - specificity for specificity in section.roc.specificity], section.roc.sensitivity),
            _pairs(section.reliability.score, section.reliability.share),
        )
        for name, section in card.curves.items()
    ]


def splits(card: Card) -> list[Split]:
    """Return the splits that hurt, each with its sets of figures."""
    return [
        Split(name, found)
        for name, conditions in card.splits.held_out.items()
        if (found := [_figure_set(*named) for named in _image_sets(conditions).items()])
    ]


def networks(card: Card) -> list[NetworkFigures]:
    """Return the section `networks`: what each network reaches alone, and both; none for a model with one network."""
    return [
        NetworkFigures(image_set, name, figures)
        for image_set, of_networks in card.networks.items()
        for name, figures in of_networks.items()
    ]


def lowest(card: Card) -> list[Lowest]:
    """Return the lowest figures of each operating point in any condition, as far as the card has splits."""
    return [
        Lowest(name, **section.model_dump(include=_LOWEST)) for name, section in card.splits.lowest.items()
    ]


def datasets(card: Card) -> list[Dataset]:
    """Return the section `data`, which has one data set or a list of them for each role."""
    return [
        Dataset(label(role), section.name, section.source, section.licence, section.note)
        for role, content in card.data.items()
        for raw in (content if isinstance(content, list) else [content])
        if (section := _parse_or_none(DatasetSection, raw)) is not None
    ]


def files(card: Card) -> list[File]:
    """Return the files of the bundle, with their hashes."""
    return [File(name, section.sha256, section.bytes) for name, section in card.files.items()]


def _sets(card: Card) -> dict[str, ImageSetSection]:
    return _image_sets({name: raw for name, raw in card.metrics.items() if name not in _NOT_IMAGE_SETS})


def _image_sets(sections: dict[str, Any]) -> dict[str, ImageSetSection]:
    parsed = {name: _parse_or_none(ImageSetSection, raw) for name, raw in sections.items()}
    return {name: section for name, section in parsed.items() if section is not None and _figures(section)}


def _parse_or_none(schema: type[S], raw: object) -> S | None:
    try:
        return schema.model_validate(raw)
    except ValidationError:
        return None


def _figure_set(name: str, section: ImageSetSection) -> FigureSet:
    return FigureSet(
        name,
        section.n,
        section.patients,
        section.prevalence,
        section.turned_away,
        _figures(section),
        {
            trait: [_figure_set(group, part) for group, part in groups.items()]
            for trait, groups in section.subgroups.items()
            if groups
        },
    )


def _figures(section: ImageSetSection) -> dict[str, Figure]:
    values = section.model_extra or {}
    return {
        metric: _figure(value, values[metric + _INTERVAL_SUFFIX])
        for metric, value in values.items()
        if metric + _INTERVAL_SUFFIX in values
    }


def _figure(value: object, interval: object) -> Figure:
    ends = [_number(end) for end in interval] if isinstance(interval, list) else []
    return Figure(_number(value), *ends) if len(ends) == _INTERVAL_ENDS else Figure(_number(value))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _point(name: str, section: PointSection, is_default: bool) -> Point:  # noqa: FBT001 - private, and named so
    return Point(
        name,
        is_default,
        section.threshold,
        section.band_low,
        section.band_high,
        section.sensitivity,
        section.specificity,
        section.flagged_share,
    )


def _spreads(sections: dict[str, Any], path: tuple[str, ...]) -> Iterator[Spread]:
    for name, raw in sections.items():
        section = _parse_or_none(SpreadSection, raw)
        if section is not None:
            yield Spread(", ".join(map(label, (*path, name))), section.mean, section.sd, section.values)
        elif isinstance(raw, dict):
            yield from _spreads(raw, (*path, name))


def _pairs(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    return list(zip(x, y, strict=True)) if len(x) == len(y) else []
