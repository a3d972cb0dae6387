"""The geometry of the monitor's diagrams, in units of their SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.monitor.estimates import CalibrationBin
from worker.report.monitor_figures import Figures

WIDTH, HEIGHT = 460.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 452.0, 10.0, 162.0
# The ends that an axis may have. Each is a round number in per cent.
_TOPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_BOTTOMS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
# The axis of shares that all lie above this begins at one of these ends, any other one at 0.
_UPPER_HALF = 0.5
_TOPS_OF_PSI = (0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_TICKS = 4
# Periods have labels so far from each other that they do not overlap.
_LABEL = 62.0


@dataclass(frozen=True)
class Dot:
    """A known value, and its interval if there is one: `top` is above `y`, `foot` below it.

    `is_complete` is false if some days of its period are not counted.
    """

    x: float
    y: float
    top: float | None = None
    foot: float | None = None
    is_complete: bool = True


@dataclass(frozen=True)
class SeriesChart:
    """A figure by period.

    Attributes:
        name: key of the figure.
        title: of the diagram.
        description: for people who cannot see it.
        dots: the known values.
        path: the `d` attribute of the line through values that follow each other.
        level: where the expected value lies; None without one.
        x_ticks, y_ticks: positions and labels.
    """

    name: str
    title: str
    description: str
    dots: Sequence[Dot]
    path: str
    level: float | None
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class _Value:
    value: float
    low: float | None = None
    high: float | None = None


def share_chart(
    name: str, title: str, periods: Sequence[Figures], expected: float | None = None
) -> SeriesChart:
    """Return the diagram of a share by period, with its intervals. Of a share near 1, only the upper part is drawn."""
    values = [_share(getattr(period, name)) for period in periods]
    known = [value for value in values if value is not None]
    ends = [end for value in known for end in (value.low, value.high) if end is not None]
    levels = [] if expected is None else [expected]
    lowest = min([*ends, *levels], default=0.0)
    bottom = next(low for low in _BOTTOMS if low <= lowest) if lowest > _UPPER_HALF else 0.0
    top = 1.0 if bottom else next(high for high in _TOPS if high >= max([*ends, *levels], default=0.0))
    ticks = [(f"{100 * value:g} %", value) for value in _steps(bottom, top)]
    return _chart(name, title, periods, values, (bottom, top), ticks, expected)


def psi_chart(name: str, title: str, periods: Sequence[Figures]) -> SeriesChart:
    """Return the diagram of the population stability index by period."""
    drifts = [getattr(period, name) for period in periods]
    values = [None if drift is None or drift.psi is None else _Value(drift.psi) for drift in drifts]
    highest = max((value.value for value in values if value is not None), default=0.0)
    top = next((high for high in _TOPS_OF_PSI if high >= highest), highest)
    ticks = [(f"{value:.2g}", value) for value in _steps(0.0, top)]
    return _chart(name, title, periods, values, (0.0, top), ticks, None)


@dataclass(frozen=True)
class CalibrationChart:
    """Which share has signs, by score. `x_ticks` and `y_ticks` are positions and labels; `diagonal` is a path."""

    description: str
    dots: Sequence[Dot]
    diagonal: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def calibration_chart(bins: Sequence[CalibrationBin]) -> CalibrationChart | None:
    """Return the diagram of calibration; None if no bin is known."""
    dots = [
        Dot(
            _across((one.low + one.high) / 2),
            _down(one.share.value, 0, 1),
            _down(one.share.high, 0, 1) if one.share.high is not None else None,
            _down(one.share.low, 0, 1) if one.share.low is not None else None,
        )
        for one in bins
        if one.share.value is not None
    ]
    if not dots:
        return None
    steps = _steps(0.0, 1.0)
    return CalibrationChart(
        f"Share with signs by score, known for {len(dots)} of {len(bins)} twentieths of the score.",
        dots,
        f"M{_across(0):g} {_down(0, 0, 1):g}L{_across(1):g} {_down(1, 0, 1):g}",
        [(_across(value), f"{value:g}") for value in steps],
        [(_down(value, 0, 1), f"{100 * value:g} %") for value in steps],
    )


def _share(estimate: object) -> _Value | None:
    value = getattr(estimate, "value", None)
    if value is None:
        return None
    return _Value(value, getattr(estimate, "low", None), getattr(estimate, "high", None))


def _chart(
    name: str,
    title: str,
    periods: Sequence[Figures],
    values: Sequence[_Value | None],
    ends: tuple[float, float],
    ticks: Sequence[tuple[str, float]],
    expected: float | None,
) -> SeriesChart:
    step = (RIGHT - LEFT) / max(1, len(periods))
    places = [round(LEFT + step * (place + 0.5), 1) for place in range(len(periods))]
    dots = [
        None
        if value is None
        else Dot(
            x,
            _down(value.value, *ends),
            None if value.high is None else _down(min(value.high, ends[1]), *ends),
            None if value.low is None else _down(max(value.low, ends[0]), *ends),
            period.is_complete,
        )
        for x, value, period in zip(places, values, periods, strict=True)
    ]
    known = [dot for dot in dots if dot is not None]
    every = max(1, round(_LABEL / step))
    return SeriesChart(
        name,
        title,
        f"{title} by period, known for {len(known)} of {len(periods)}. The table below has the numbers.",
        known,
        _path(dots),
        None if expected is None else _down(expected, *ends),
        [
            (x, f"{period.first:%d %b}")
            for place, (x, period) in enumerate(zip(places, periods, strict=True))
            # Counted from the end: the last period always has its label.
            if (len(periods) - 1 - place) % every == 0
        ],
        [(_down(value, *ends), text) for text, value in ticks],
    )


def _path(dots: Sequence[Dot | None]) -> str:
    parts, is_broken = [], True
    for dot in dots:
        if dot is not None:
            parts.append(f"{'M' if is_broken else 'L'}{dot.x:g} {dot.y:g}")
        is_broken = dot is None
    return "".join(parts)


def _steps(low: float, high: float) -> list[float]:
    return [round(low + (high - low) * place / _TICKS, 6) for place in range(_TICKS + 1)]


def _down(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.0
    return round(BOTTOM - (BOTTOM - TOP) * share, 1)


def _across(value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * value, 1)
