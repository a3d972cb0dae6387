"""Where the lines, ticks and labels of a card's diagrams lie, in units of their SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.card.reading import Curves, Point
from worker.card.text import label

# The square that curves are drawn in, within a viewBox that leaves room for ticks and titles.
LEFT, TOP, SIDE = 48.0, 8.0, 300.0
_RIGHT, _BOTTOM = LEFT + SIDE, TOP + SIDE
# As much of the corner as still holds every operating point, with room to label them.
_CORNERS = (0.04, 0.1, 0.2, 0.32)
_ROOM = 0.85
_LABEL_AWAY, _LABEL_GAP, _LABEL_WIDTH = 14.0, 17.0, 120.0
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
        """Where a value of the horizontal axis lies."""
        return round(LEFT + SIDE * (value - self.left) / (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Where a value of the vertical axis lies."""
        return round(_BOTTOM - SIDE * (value - self.bottom) / (self.top - self.bottom), 1)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along the horizontal axis."""
        values = [self.left + share * (self.right - self.left) for share in _QUARTERS]
        return [(self.x(value), f"{value:g}") for value in values]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along the vertical axis."""
        values = [self.bottom + share * (self.top - self.bottom) for share in _QUARTERS]
        return [(self.y(value), f"{round(value, 6):g}") for value in values]


@dataclass(frozen=True)
class Line:
    """A curve of one set of images; `style` counts from 0, the same for a set in every diagram."""

    name: str
    style: int
    places: list[tuple[float, float]]

    @property
    def path(self) -> str:
        """The `d` of an SVG path."""
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in self.places)


@dataclass(frozen=True)
class Marker:
    """An operating point and its label, which no other covers."""

    point: Point
    x: float
    y: float
    label_x: float
    label_y: float
    flush_right: bool


@dataclass(frozen=True)
class Chart:
    """A diagram; `dotted`: each point of a line is drawn too."""

    title: str
    across: str
    upwards: str
    window: Window
    lines: list[Line]
    markers: list[Marker]
    dotted: bool

    @property
    def diagonal(self) -> str:
        """The `d` of the line on which both axes say the same."""
        window = self.window
        return f"M{window.x(0):g} {window.y(0):g}L{window.x(1):g} {window.y(1):g}"

    @property
    def spoken(self) -> str:
        """What the diagram shows, for who cannot see it."""
        named = ", ".join(line.name for line in self.lines)
        points = "".join(
            f" {marker.point.name}: sensitivity {marker.point.sensitivity:.3f}, specificity "
            f"{marker.point.specificity:.3f}."
            for marker in self.markers
        )
        return f"{self.title} of {named}.{points}"


def charts(curves: Sequence[Curves], points: Sequence[Point]) -> list[Chart]:
    """The ROC curves, their corner if that is where the model is used, and the reliability diagram."""
    rocs = _lines(Window(), [(each.name, each.roc) for each in curves])
    if not rocs:
        return []
    drawn = [point for point in points if point.sensitivity is not None and point.specificity is not None]
    corner = _corner(drawn)
    axes = ("1 \N{MINUS SIGN} specificity", "sensitivity")
    found = [Chart("ROC", *axes, Window(), rocs, [] if corner else _markers(Window(), drawn), dotted=False)]
    if corner:
        lines = _lines(corner, [(each.name, each.roc) for each in curves])
        found.append(Chart("ROC, its corner", *axes, corner, lines, _markers(corner, drawn), dotted=False))
    reliable = _lines(Window(), [(each.name, each.reliability) for each in curves])
    if reliable:
        found.append(
            Chart("Reliability", "score", "share with pneumonia", Window(), reliable, [], dotted=True)
        )
    return found


def _lines(window: Window, named: Sequence[tuple[str, Pairs]]) -> list[Line]:
    return [
        Line(label(name), style, [(window.x(x), window.y(y)) for x, y in pairs])
        for style, (name, pairs) in enumerate(named)
        if pairs
    ]


def _corner(points: Sequence[Point]) -> Window | None:
    """The smallest corner, of those that are tried, that holds every point; None: no corner does."""
    farthest = max(
        (max(1 - (each.sensitivity or 0), 1 - (each.specificity or 0)) for each in points), default=1.0
    )
    size = next((size for size in _CORNERS if farthest <= _ROOM * size), None)
    return Window(0.0, size, 1 - size, 1.0) if size else None


def _markers(window: Window, points: Sequence[Point]) -> list[Marker]:
    """Labels lie below and right of their points, where no ROC curve is, and below each other."""
    places = [
        (window.y(each.sensitivity or 0), window.x(1 - (each.specificity or 0)), each) for each in points
    ]
    markers: list[Marker] = []
    lowest = TOP
    for y, x, point in sorted(places, key=lambda place: place[:2]):
        lowest = max(y + _LABEL_AWAY, lowest + _LABEL_GAP)
        flush = x + _LABEL_AWAY + _LABEL_WIDTH > _RIGHT
        label_x = _RIGHT - 2 if flush else x + _LABEL_AWAY
        markers.append(Marker(point, x, y, round(label_x, 1), round(lowest, 1), flush))
    return markers
