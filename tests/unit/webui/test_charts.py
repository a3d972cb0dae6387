"""webui.charts: positions of lines, operating points and labels in the diagrams of a model card."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.cards import a_card
from webui.charts import LEFT, SIDE, TOP, Window, charts
from worker.card.reading import Curves, Point, curves, operating_points, read_card

CURVE = Curves(
    "children_stressed", [(0.0, 0.0), (0.0, 0.9), (0.1, 0.97), (1.0, 1.0)], [(0.1, 0.2), (0.9, 0.8)]
)


def point(name: str, sensitivity: float | None, specificity: float | None) -> Point:
    return Point(name, name == "balanced", 0.5, 0.4, 0.6, sensitivity, specificity, 0.3)


def test_unit_square_fills_the_diagram() -> None:
    window = Window()
    assert (window.x(0), window.x(1)) == (LEFT, LEFT + SIDE)
    assert (window.y(1), window.y(0)) == (TOP, TOP + SIDE)
    assert [text for _, text in window.x_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    corner = Window(0.0, 0.2, 0.8, 1.0)
    assert (corner.x(0.2), corner.y(0.8)) == (LEFT + SIDE, TOP + SIDE)
    assert [text for _, text in corner.y_ticks] == ["0.8", "0.85", "0.9", "0.95", "1"]


def test_line_goes_through_its_points() -> None:
    roc, reliability = charts([CURVE], [])
    assert roc.lines[0].path == "M48 308L48 38L78 17L348 8"
    assert roc.lines[0].name == "children stressed"
    assert roc.diagonal == "M48 308L348 8"
    assert (reliability.title, reliability.lines[0].points) == ("Reliability", [(78.0, 248.0), (318.0, 68.0)])


def test_operating_points_go_into_the_smallest_corner_that_holds_them() -> None:
    points = [point("screen", 0.98, 0.93), point("balanced", 0.95, 0.96)]
    whole, corner, _ = charts([CURVE], points)
    assert whole.markers == []
    assert corner.window == Window(0.0, 0.1, 0.9, 1.0)
    first = corner.markers[0]
    assert first.point.name == "screen"
    assert (first.x, first.y) == pytest.approx((LEFT + 0.7 * SIDE, TOP + 0.2 * SIDE))


def test_operating_points_outside_the_corner_go_into_the_whole_diagram() -> None:
    whole, reliability = charts([CURVE], [point("screen", 0.98, 0.4)])
    assert [marker.point.name for marker in whole.markers] == ["screen"]
    assert reliability.markers == []


def test_labels_do_not_overlap_or_leave_the_frame() -> None:
    same = [point(name, 0.964, 0.971) for name in ("screen", "balanced", "rule-in")]
    _, corner, _ = charts([CURVE], same)
    heights = [marker.label_y for marker in corner.markers]
    assert min(later - earlier for earlier, later in pairwise(heights)) >= 15
    _, corner, _ = charts([CURVE], [point("screen", 0.99, 0.92)])
    assert corner.markers[0].flush_right
    assert corner.markers[0].label_x <= LEFT + SIDE


def test_unmeasured_operating_point_is_not_drawn() -> None:
    whole, _ = charts([CURVE], [point("mine", None, None)])
    assert whole.markers == []


def test_no_curves_give_no_diagrams() -> None:
    assert charts([], [point("screen", 0.9, 0.9)]) == []
    assert charts([Curves("empty", [], [])], []) == []


def test_set_has_the_same_style_in_every_diagram() -> None:
    card = read_card(a_card())
    diagrams = charts(curves(card), operating_points(card))
    assert [chart.title for chart in diagrams] == ["ROC", "ROC, upper left corner", "Reliability"]
    for chart in diagrams:
        assert [(line.name, line.style) for line in chart.lines] == [
            ("children", 0), ("children stressed", 1), ("adults", 2),
        ]  # fmt: skip


def test_diagram_has_a_text_alternative() -> None:
    _, corner, _ = charts([CURVE], [point("balanced", 0.95, 0.96)])
    assert (
        corner.description
        == "ROC, upper left corner of children stressed. balanced: sensitivity 0.950, specificity 0.960."
    )
