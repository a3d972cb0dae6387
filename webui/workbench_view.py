"""The workbench of thresholds as texts and positions: one place formats the figures, for the page and for its script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webui.charts import Line, Window
from worker.card.at_threshold import Range
from worker.card.schema import Card
from worker.card.text import title
from worker.durations import duration
from worker.report.workbench import (
    FIGURES,
    CardColumn,
    Curve,
    Figure,
    SiteColumn,
    Trial,
    rates_of_card,
    rates_of_site,
)

NAMES = {
    "sensitivity": ("Sensitivity", "The share of images with signs that reach the threshold."),
    "specificity": ("Specificity", "The share of the other images below the threshold."),
    "ppv": ("PPV", "The share with signs of the images that reach the threshold, at the prevalence above."),
    "npv": ("NPV", "The share without signs of the images below the threshold, at the prevalence above."),
    "found": ("Sensitivity of the reading", "The share of images with signs that are flagged or uncertain, and so are read."),
    "flagged": ("Flagged", "The share of all images that are flagged."),
    "uncertain": ("Uncertain", "The share of all images that are uncertain."),
    "images_to_read": ("Images to read a night", "Flagged, uncertain and drawn ones."),
    "reading_s": ("Reading time a night", "Images to read, times seconds an image, times readers of an image."),
}  # fmt: skip
# The thresholds of the table beneath the curves.
TABLE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# More points of a line cannot be told apart.
_MOST_POINTS = 400
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A figure in one column, as texts."""

    value: str
    interval: str
    why_not: str


@dataclass(frozen=True)
class Marker:
    """The place of the threshold on a curve; None: it has none."""

    x: float | None
    y: float | None


@dataclass(frozen=True)
class WorkbenchView:
    """Everything that changes with the threshold.

    Attributes:
        cells: by column, `card` or `site`, and figure.
        lines: the curves.
        markers: the place of the threshold on each, by column.
        rows: of the table beneath: threshold, then sensitivity and specificity of each column.
    """

    cells: Mapping[str, Mapping[str, Cell]]
    lines: Mapping[str, Line]
    markers: Mapping[str, Marker]
    rows: Sequence[tuple[str, str, str, str, str]]

    @property
    def window(self) -> Window:
        """The part of the unit square that the curves show: all of it."""
        return Window()

    def document(self) -> dict[str, Any]:
        """Return what the script of the page puts in place: texts by id, and the positions of the markers."""
        texts = {
            f"{column}-{name}-{part}": getattr(cell, part.replace("-", "_"))
            for column, cells in self.cells.items()
            for name, cell in cells.items()
            for part in ("value", "interval", "why-not")
        }
        return {
            "texts": texts,
            "markers": {column: {"x": marker.x, "y": marker.y} for column, marker in self.markers.items()},
        }


def view_of(
    card: Card, of_card: CardColumn | None, of_site: SiteColumn, *, whole: bool = True
) -> WorkbenchView:
    """Return the texts and positions of both columns. Without `whole`, curves and table, which stay, are left out."""
    columns: list[tuple[str, CardColumn | SiteColumn]] = [("site", of_site)]
    if of_card is not None:
        columns.insert(0, ("card", of_card))
    names = {"card": title(of_card.name) if of_card else "", "site": "This site"}
    return WorkbenchView(
        cells={key: {name: cell(name, column.figures[name]) for name in FIGURES} for key, column in columns},
        lines={
            key: _line(names[key], style, column.curve)
            for style, (key, column) in enumerate(columns)
            if column.curve.points and whole
        },
        markers={key: _marker(column.figures) for key, column in columns},
        rows=[_row(card, of_card, of_site, threshold) for threshold in TABLE] if whole else [],
    )


def cell(name: str, figure: Figure) -> Cell:
    """Return a figure as texts."""
    if figure.least is None or figure.most is None:
        return Cell("not known", _DASH, figure.why_not)
    value = _between(name, figure.least, figure.most)
    if figure.low is None or figure.high is None:
        return Cell(value, _DASH, figure.why_not)
    return Cell(value, _between(name, figure.low, figure.high), figure.why_not)


def trial_fields(trial: Trial) -> dict[str, str]:
    """Return the values of the fields of the form."""
    return {
        "threshold": _number(trial.threshold),
        "band_low": _number(trial.band_low),
        "band_high": _number(trial.band_high),
        "prevalence": f"{100 * trial.prevalence:.6g}",
        "images": "" if trial.images_a_night is None else f"{trial.images_a_night:.6g}",
        "seconds": "" if trial.seconds_an_image is None else f"{trial.seconds_an_image:.6g}",
    }


def _number(value: float) -> str:
    """Return a score with six decimals at most, which is what a point of a site has."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _between(name: str, low: float, high: float) -> str:
    one, other = _text(name, low), _text(name, high)
    if one == other:
        return one
    if name in {"images_to_read", "reading_s"}:
        return f"{one} to {other}"
    return f"{one.removesuffix(' %')} to {other}"


def _text(name: str, value: float) -> str:
    if name == "reading_s":
        return duration(value)
    if name == "images_to_read":
        return f"{value:,.0f}"
    return f"{100 * value:.1f} %"


def _line(name: str, style: int, curve: Curve) -> Line:
    window, step = Window(), max(1, len(curve.points) // _MOST_POINTS)
    points = [*curve.points[:-1:step], curve.points[-1]]
    return Line(name, style, [(window.x(1 - spared), window.y(found)) for _, found, spared in points])


def _marker(figures: Mapping[str, Figure]) -> Marker:
    found, spared = figures["sensitivity"], figures["specificity"]
    if found.least is None or found.most is None or spared.least is None or spared.most is None:
        return Marker(None, None)
    window = Window()
    return Marker(window.x(1 - (spared.least + spared.most) / 2), window.y((found.least + found.most) / 2))


def _row(
    card: Card, of_card: CardColumn | None, of_site: SiteColumn, threshold: float
) -> tuple[str, str, str, str, str]:
    none = Range(None, None)
    found, spared = rates_of_card(card, of_card.name, threshold) if of_card else (none, none)
    found_here, spared_here = rates_of_site(of_site.cases, threshold)
    return f"{threshold:.2f}", _range(found), _range(spared), _rate(found_here), _rate(spared_here)


def _range(rate: Range) -> str:
    return _DASH if rate.low is None or rate.high is None else _between("", rate.low, rate.high)


def _rate(rate: float | None) -> str:
    return _DASH if rate is None else _text("", rate)
