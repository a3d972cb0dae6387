"""`nightread monitor`: the figures of the monitor as text, and counting them anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from worker.ledger.monitored_groups import Dimension
from worker.ledger.session import Ledger
from worker.monitor.drift import Drift
from worker.monitor.estimates import SMALL, Estimate
from worker.monitoring import begin, compare, count_some
from worker.progress import progress
from worker.report.monitor_figures import (
    Asked,
    Figures,
    MonitorFigures,
    Period,
    monitor_figures,
    says_distance,
)
from worker.report.monitor_formats import document
from worker.terminal import printable

__all__ = ["as_text", "document", "read", "rebuild"]

# The tables, one below the other: 100 columns hold no more than four figures with their intervals.
_SHARES = (("flagged", "rejected", "overridden"), ("sensitivity", "specificity", "ppv", "npv"))
_DRIFTS = {"from_card": "PSI from card", "from_earlier": "PSI from earlier"}
_FAR = {"far": "far %"}
_WIDTH, _NAME, _IMAGES = 20, 20, 9
_INCOMPLETE = " *"
_NOT_KNOWN = "not known"
# Smaller probabilities are not told apart, as on the page.
_SMALLEST_P = 0.001


def read(ledger: Ledger, *, period: str, by: str, group: str, until: date | None) -> MonitorFigures:
    """Return the figures. Whoever runs a command sees everything, today's images too.

    Raises ValueError for a group without a dimension, LookupError for a group that there is not.
    """
    dimension = Dimension(by)
    if dimension is Dimension.ALL and group != "all":
        raise ValueError("--group needs --by.")
    asked = Asked(Period(period), dimension, group, None, until)
    with ledger.reading() as session:
        return monitor_figures(session, asked, person=False)


def as_text(figures: MonitorFigures) -> str:
    """Return the figures as text for people."""
    return "\n".join(_lines(figures))


def rebuild(ledger: Ledger) -> int:
    """Count all days anew, compare them, and return how many days were counted."""
    begin(ledger)
    step = count_some(ledger)
    counted = step.counted
    with progress(step.counted + step.left, "Counting days") as advance:
        advance(step.counted)
        while step.left:
            step = count_some(ledger)
            counted += step.counted
            advance(step.counted)
    compare(ledger)
    return counted


def _lines(figures: MonitorFigures) -> Iterator[str]:
    yield from _changes(figures)
    if figures.model is None or not figures.periods:
        until = figures.asked.until
        yield f"No day up to {until} has an image." if until else "No image was scored yet."
        return
    name = f"{figures.model.name} {figures.model.version}"
    yield f"{printable(name)}, group {printable(figures.asked.group)}, {figures.first} to {figures.last}, days in UTC"
    if any(one.images for one in figures.periods):
        yield from _tables(f"{figures.asked.period} from", figures.periods)
        if not all(one.is_complete for one in figures.periods):
            yield f"* Incomplete: this {figures.asked.period} is not over, or began before the first image."
    else:
        yield "No image of these days is in this group."
    if figures.groups:
        yield ""
        yield from _tables(f"by {figures.asked.dimension}", figures.groups)
        yield f"Groups: from {figures.recent} to {figures.last}."
    for one in figures.rejected:
        yield f"rejected, {printable(one.reason)}: {one.images} ({_estimate(one.share)})"
    if figures.left:
        yield f"Days to count anew: {figures.left}."


def _changes(figures: MonitorFigures) -> Iterator[str]:
    if figures.found is None:
        yield "No days were compared yet."
        return
    current = [alert for alert in figures.found.alerts if alert["attention"]]
    for alert in current:
        yield f"CHANGED  {printable(alert['sentence'])} {alert['sure']}"
    if not current:
        yield f"Nothing has changed lately that chance does not explain, up to {figures.found.day}."


def _tables(first: str, rows: Sequence[Figures]) -> Iterator[str]:
    """Yield the figures as tables, none wider than 100 columns. What is not known of any row is one line."""
    yield _header(first, ("images", *(f"{name} %" for name in _SHARES[0])))
    for one in rows:
        images = f"< {SMALL}" if one.is_small else f"{one.images}"
        yield _row(one, [images, *(_estimate(getattr(one, name)) for name in _SHARES[0])])
    shown = [one for one in rows if not one.is_small]
    yield from _table(first, shown, {name: f"{name} %" for name in _SHARES[1]}, _estimate)
    yield from _table(first, shown, _DRIFTS, _drift)
    # Most models do not say it, and need no line that says so.
    if any(says_distance(one) for one in shown):
        yield from _table(first, shown, _FAR, _estimate)


def _table(
    first: str, rows: Sequence[Figures], titles: Mapping[str, str], text: Callable[[Any], str]
) -> Iterator[str]:
    known = {
        name: title
        for name, title in titles.items()
        if any(text(getattr(one, name)) != _NOT_KNOWN for one in rows)
    }
    if known:
        yield ""
        yield _header(first, ["", *known.values()])
        yield from (_row(one, ["", *(text(getattr(one, name)) for name in known)]) for one in rows)
    for name, title in titles.items() if rows else ():
        if name not in known:
            why = next((why for one in rows if (why := getattr(getattr(one, name), "why_not", ""))), "")
            yield f"{title.removesuffix(' %')}: {_NOT_KNOWN}. {why}".rstrip()


def _header(first: str, titles: Sequence[str]) -> str:
    return _aligned(first, titles)


def _row(one: Figures, cells: Sequence[str]) -> str:
    name = printable(one.name) + ("" if one.is_complete else _INCOMPLETE)
    # A long name has a line of its own.
    above = f"{name}\n" if len(name) >= _NAME else ""
    return above + _aligned("" if above else name, cells)


def _aligned(name: str, cells: Sequence[str]) -> str:
    images, *figures = cells
    return f"{name:<{_NAME}}{images:>{_IMAGES if images else 0}}{''.join(f'{cell:>{_WIDTH}}' for cell in figures)}"


def _estimate(figure: Estimate | None) -> str:
    if figure is None or figure.value is None:
        return _NOT_KNOWN
    if figure.low is None or figure.high is None:
        return f"{100 * figure.value:.1f}"
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _drift(drift: Drift | None) -> str:
    if drift is None or drift.psi is None or drift.p is None:
        return _NOT_KNOWN
    chance = "< 0.001" if drift.p < _SMALLEST_P else f"{drift.p:.3f}"
    return f"{drift.psi:.3f} (p {chance})"
