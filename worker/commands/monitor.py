"""`nightread monitor`: the figures of the monitor as text, and counting them anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from worker.ledger.monitored_groups import Dimension
from worker.ledger.session import Ledger
from worker.monitor.drift import Drift
from worker.monitor.estimates import SMALL, Estimate
from worker.monitoring import begin, compare, count_some
from worker.progress import progress
from worker.report.monitor_figures import Asked, Figures, MonitorFigures, Period, monitor_figures
from worker.report.monitor_formats import document
from worker.terminal import printable

__all__ = ["as_text", "document", "read", "rebuild"]

_COLUMNS = ("flagged", "rejected", "sensitivity", "specificity", "ppv", "npv", "overridden")
_WIDTH = 22
# Smaller probabilities are not told apart, as on the page.
_SMALLEST_P = 0.001


def read(ledger: Ledger, *, period: str, by: str, group: str, until: date | None) -> MonitorFigures:
    """Return the figures. Whoever runs a command sees everything, today's images too.

    Raises ValueError for a group without a dimension.
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
        yield _header(f"{figures.asked.period} from")
        yield from map(_row, figures.periods)
    else:
        yield "No image of these days is in this group."
    if figures.groups:
        yield ""
        yield _header(f"by {figures.asked.dimension}, from {figures.recent}")
        yield from map(_row, figures.groups)
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


def _header(first: str) -> str:
    titles = "".join(f"{title:>{_WIDTH}}" for title in (*_COLUMNS, "PSI from card", "PSI from earlier"))
    return f"{first:<{_WIDTH}}{'images':>10}{titles}"


def _row(one: Figures) -> str:
    name = f"{printable(one.name):<{_WIDTH}}"
    if one.is_small:
        return f"{name}{'< ' + str(SMALL):>10}"
    shares = "".join(f"{_estimate(getattr(one, name)):>{_WIDTH}}" for name in _COLUMNS)
    drifts = "".join(f"{_drift(drift):>{_WIDTH}}" for drift in (one.from_card, one.from_earlier))
    return f"{name}{one.images:>10}{shares}{drifts}"


def _estimate(figure: Estimate | None) -> str:
    if figure is None or figure.value is None:
        return "not known"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1%}"
    return f"{figure.value:.1%} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _drift(drift: Drift | None) -> str:
    if drift is None or drift.psi is None or drift.p is None:
        return "not known"
    chance = "< 0.001" if drift.p < _SMALLEST_P else f"{drift.p:.3f}"
    return f"{drift.psi:.3f} (p {chance})"
