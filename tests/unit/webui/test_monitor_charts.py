"""Diagrams of the monitor: where values lie, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from webui.monitor_charts import BOTTOM, LEFT, RIGHT, TOP, calibration_chart, psi_chart, share_chart
from worker.monitor.drift import Drift
from worker.monitor.estimates import CalibrationBin, Estimate
from worker.report.monitor_figures import Figures

FIRST = date(2026, 3, 2)
UNKNOWN = Estimate(None, why_not="Nobody knows.")


def periods(*flagged: Estimate | None) -> list[Figures]:
    days = [FIRST + timedelta(days=number) for number in range(len(flagged))]
    return [
        Figures(day.isoformat(), day.isoformat(), day, day, flagged=figure)
        for day, figure in zip(days, flagged, strict=True)
    ]


def test_values_lie_between_the_ends_of_the_axes() -> None:
    chart = share_chart("flagged", "Flagged", periods(Estimate(0.1, 0.05, 0.18), Estimate(0.2, 0.1, 0.2)))
    assert [text for _, text in chart.y_ticks] == ["0 %", "5 %", "10 %", "15 %", "20 %"]
    first, second = chart.dots
    assert (first.y, second.y, second.top) == ((TOP + BOTTOM) / 2, TOP, TOP)
    assert LEFT < first.x < second.x < RIGHT
    assert first.top is not None
    assert first.foot is not None
    assert first.top < first.y < first.foot
    assert chart.path.count("L") == 1


def test_share_near_one_is_drawn_from_a_higher_bottom() -> None:
    chart = share_chart("flagged", "Flagged", periods(Estimate(0.97, 0.91, 0.99)))
    assert chart.y_ticks[0][1] == "90 %"


def test_line_breaks_where_nothing_is_known() -> None:
    known = Estimate(0.1, 0.05, 0.18)
    chart = share_chart("flagged", "Flagged", periods(known, UNKNOWN, known, None))
    assert len(chart.dots) == 2
    assert chart.path.count("M") == 2
    assert "known for 2 of 4" in chart.description


def test_expected_share_stays_inside_the_diagram() -> None:
    chart = share_chart("flagged", "Flagged", periods(Estimate(0.1, 0.05, 0.18)), 0.66)
    assert chart.level is not None
    assert TOP < chart.level < BOTTOM


@pytest.mark.parametrize("psi", [0.0, 0.05, 3.0, 400.0])
def test_every_index_fits(psi: float) -> None:
    (period,) = periods(None)
    drifted = replace(period, from_card=Drift(psi, p=0.5, n=99))
    chart = psi_chart("from_card", "Drift", [drifted])
    (dot,) = chart.dots
    assert TOP <= dot.y <= BOTTOM


def test_last_period_has_a_label() -> None:
    chart = share_chart("flagged", "Flagged", periods(*[UNKNOWN] * 28))
    assert chart.x_ticks[-1][1] == "29 Mar"
    assert len(chart.x_ticks) < 10


def test_calibration_draws_the_known_bins() -> None:
    bins = [CalibrationBin(0.0, 0.05, Estimate(0.5, 0.2, 0.8, 9)), CalibrationBin(0.05, 0.1, UNKNOWN)]
    chart = calibration_chart(bins)
    assert chart is not None
    assert len(chart.dots) == 1
    assert calibration_chart(bins[1:]) is None
