"""The geometry of a model card's diagrams, in units of their SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.card.reading import Curves, Point
from worker.card.text import label

# The square that holds the curves. The viewBox around it also holds ticks and titles.
LEFT, TOP, SIDE = 48.0, 8.0, 300.0
_RIGHT, _BOTTOM = LEFT + SIDE, TOP + SIDE
# Side lengths of the enlarged upper left corner. The operating points must lie within this share of it,
# so that their labels fit.
_CORNERS = (0.04, 0.1, 0.2, 0.32)
_USABLE_SHARE = 0.85
_LABEL_OFFSET, _LABEL_GAP, _LABEL_WIDTH = 14.0, 17.0, 120.0
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Window:
    """The part of the unit square that a diagram shows."""

    left: float = 0.0
    right: float = 1.0
    bottom: float = 0.0
    top: float = 1.0

    def x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return round(LEFT + SIDE * (value - self.left) / (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return round(_BOTTOM - SIDE * (value - self.bottom) / (self.top - self.bottom), 1)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Positions and labels along the horizontal axis."""
        values = [self.left + share * (self.right - self.left) for share in _QUARTERS]
        return [(self.x(value), f"{value:g}") for value in values]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Positions and labels along the vertical axis."""
        values = [self.bottom + share * (self.top - self.bottom) for share in _QUARTERS]
        return [(self.y(value), f"{round(value, 6):g}") for value in values]


@dataclass(frozen=True)
class Line:
    """The curve of one set of images. A set has the same `style`, 0 or higher, in every diagram."""

    name: str
    style: int
    points: list[tuple[float, float]]

    @property
    def path(self) -> str:
        """The `d` attribute of the SVG path."""
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in self.points)


@dataclass(frozen=True)
class Marker:
    """An operating point and its label. Labels do not overlap."""

    point: Point
    x: float
    y: float
    label_x: float
    label_y: float
    flush_right: bool


@dataclass(frozen=True)
class Chart:
    """A diagram. When it is `dotted`, each point of a line is drawn as well."""

    title: str
    x_title: str
    y_title: str
    window: Window
    lines: list[Line]
    markers: list[Marker]
    dotted: bool

    @property
    def diagonal(self) -> str:
        """The `d` attribute of the line on which both values are equal."""
        window = self.window
        return f"M{window.x(0):g} {window.y(0):g}L{window.x(1):g} {window.y(1):g}"

    @property
    def description(self) -> str:
        """The text alternative of the diagram, for people who cannot see it."""
        names = ", ".join(line.name for line in self.lines)
        points = "".join(
            f" {marker.point.name}: sensitivity {marker.point.sensitivity:.3f}, specificity "
            f"{marker.point.specificity:.3f}."
            for marker in self.markers
        )
        return f"{self.title} of {names}.{points}"


def reliability_of(named: Sequence[tuple[str, Pairs]]) -> Chart:
    """Return the reliability diagram of lines with these names: pairs of probability and share with signs."""
    lines = _lines(Window(), named)
    return Chart("Reliability", "probability", "share with signs", Window(), lines, [], dotted=True)


def charts(curves: Sequence[Curves], points: Sequence[Point]) -> list[Chart]:
    """Return the ROC diagram, its upper left corner enlarged if all operating points lie there, and reliability."""
    rocs = _lines(Window(), [(curve.name, curve.roc) for curve in curves])
    if not rocs:
        return []
    measured = [point for point in points if point.sensitivity is not None and point.specificity is not None]
    corner = _corner(measured)
    axes = ("1 \N{MINUS SIGN} specificity", "sensitivity")
    diagrams = [
        Chart("ROC", *axes, Window(), rocs, [] if corner else _markers(Window(), measured), dotted=False)
    ]
    if corner:
        lines = _lines(corner, [(curve.name, curve.roc) for curve in curves])
        diagrams.append(
            Chart("ROC, upper left corner", *axes, corner, lines, _markers(corner, measured), dotted=False)
        )
    reliability = _lines(Window(), [(curve.name, curve.reliability) for curve in curves])
    if reliability:
        diagrams.append(
            Chart("Reliability", "score", "share with pneumonia", Window(), reliability, [], dotted=True)
        )
    return diagrams


def _lines(window: Window, named: Sequence[tuple[str, Pairs]]) -> list[Line]:
    return [
        Line(label(name), style, [(window.x(x), window.y(y)) for x, y in pairs])
        for style, (name, pairs) in enumerate(named)
        if pairs
    ]


def _corner(points: Sequence[Point]) -> Window | None:
    """Return the smallest of the corners that holds every point; None if none does."""
    farthest = max(
        (max(1 - (point.sensitivity or 0), 1 - (point.specificity or 0)) for point in points), default=1.0
    )
    size = next((size for size in _CORNERS if farthest <= _USABLE_SHARE * size), None)
    return Window(0.0, size, 1 - size, 1.0) if size else None


def _markers(window: Window, points: Sequence[Point]) -> list[Marker]:
    """Return the markers. Their labels lie below and to the right of the points, where no ROC curve runs."""
    positions = [
        (window.y(point.sensitivity or 0), window.x(1 - (point.specificity or 0)), point) for point in points
    ]
    markers: list[Marker] = []
    lowest = TOP
    for y, x, point in sorted(positions, key=lambda position: position[:2]):
        lowest = max(y + _LABEL_OFFSET, lowest + _LABEL_GAP)
        flush_right = x + _LABEL_OFFSET + _LABEL_WIDTH > _RIGHT
        label_x = _RIGHT - 2 if flush_right else x + _LABEL_OFFSET
        markers.append(Marker(point, x, y, round(label_x, 1), round(lowest, 1), flush_right))
    return markers
