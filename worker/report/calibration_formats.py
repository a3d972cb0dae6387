"""The figures of a calibration as text and as a CSV table: `docs/calibration.md` says what each column means."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from worker import DISCLAIMER
from worker.ledger.thresholds import Point
from worker.recalibration.held_out import FOLDS, Change, HeldOut, Interval
from worker.report.calibration_overview import CalibrationOverview
from worker.report.site_calibration import Figures

# What each held-out figure is called, and what a perfect one would be.
HELD_OUT = {
    "brier": ("Brier score", "0"),
    "log_loss": ("Log loss", "0"),
    "intercept": ("Calibration intercept", "0"),
    "slope": ("Calibration slope", "1"),
}
COLUMNS = (
    "model", "calibration", "figure", "score_from", "score_to", "images", "before", "before_low", "before_high", "after",
    "after_low", "after_high", "difference", "difference_low", "difference_high", "disclaimer",
)  # fmt: skip


def as_csv(model: str, version: int | None, figures: Figures | None) -> str:
    """Return a table: a row for each number, each held-out figure and each bin of the diagram; none without figures."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="")
    writer.writeheader()
    for row in _rows(figures) if figures else ():
        writer.writerow({"model": model, "calibration": version, **row, "disclaimer": DISCLAIMER})
    return buffer.getvalue()


def _rows(figures: Figures) -> Iterator[dict[str, object]]:
    fit = figures.fit
    for name, number in (("map_intercept", fit.intercept), ("map_slope", fit.slope)):
        yield {"figure": name, "images": fit.held_out.images, **_interval("after", number)}
    yield {"figure": "prevalence", "images": fit.held_out.images, "after": repr(fit.prevalence)}
    for name in HELD_OUT:
        change: Change = getattr(fit.held_out, name)
        parts = {part: getattr(change, part) for part in ("before", "after", "difference")}
        cells = {key: cell for part, number in parts.items() for key, cell in _interval(part, number).items()}
        yield {"figure": name, "images": fit.held_out.images, **cells}
    for one in fit.held_out.bins:
        edges = {"score_from": repr(one.low), "score_to": repr(one.high), "images": one.images}
        yield {"figure": "mean", **edges, "before": repr(one.score), "after": repr(one.recalibrated)}
        yield {"figure": "share_with_signs", **edges, **_interval("after", one.share)}


def _interval(name: str, number: Interval) -> dict[str, object]:
    return {name: repr(number.value), f"{name}_low": repr(number.low), f"{name}_high": repr(number.high)}


def as_text(shown: CalibrationOverview) -> str:
    """Return what is on record as text for people. What a person typed must be made printable by the caller."""
    lines = [f"Model {shown.model.name} {shown.model.version} ({shown.model.sha256[:12]})"]
    if shown.layer and shown.figures and shown.choice:
        since = shown.choice.at.isoformat(timespec="minutes")[:16].replace("T", " ")
        lines.append(
            f"In force: {shown.layer.name}, since {since} UTC, set by {shown.who(shown.choice)}: {shown.choice.why}"
        )
        lines += figures_lines(shown.figures)
        lines += [point_line(shown.proposed)] if shown.proposed else []
    else:
        lines.append("No calibration of this model is in force.")
    lines += [
        f"Scores against {shift.expected}: {shift_text(shift.sentence, shift.drift.psi)}"
        for shift in shown.shifts
    ]
    for change in shown.changes:
        at = change.at.isoformat(timespec="minutes")[:16].replace("T", " ")
        act = (
            f"calibration {change.revoked} revoked"
            if change.version is None
            else f"calibration {change.version}"
        )
        lines.append(f"  {at} UTC, {act}, by {shown.who(change)}: {change.why}")
    return "\n".join(lines)


def shift_text(sentence: str, psi: float | None) -> str:
    """Return what a shift means, with its index."""
    return sentence if psi is None else f"{sentence} (PSI {psi:.3f})"


def figures_lines(figures: Figures) -> list[str]:
    """Return the numbers and the held-out figures of a fit, a line for each."""
    fit, numbers = figures.fit, figures.numbers
    signs, none = numbers.kinds
    return [
        f"Log-odds here = {_number(fit.intercept)} + {_number(fit.slope)} x log-odds of the score.",
        (
            f"Fitted on {signs:,} images with signs and {none:,} without, {sum(numbers.drawn):,} of them drawn from"
            f" {numbers.clear:,} clear ones; prevalence {100 * fit.prevalence:.1f} %."
        ),
        f"On held-out images, {FOLDS} folds, {grouped(fit.held_out)}:",
        *(f"  {line(name, getattr(fit.held_out, name))}" for name in HELD_OUT),
        *figures.sentences,
    ]


def grouped(held_out: HeldOut) -> str:
    """Return what was kept together, in words."""
    if not held_out.of_patients:
        return f"{held_out.images:,} images, no patient known"
    return f"{held_out.images:,} images in {held_out.groups:,} groups by patient"


def line(name: str, change: Change) -> str:
    """Return a held-out figure before and after."""
    title, perfect = HELD_OUT[name]
    return (
        f"{title} (perfect: {perfect}): {_number(change.before)} before, {_number(change.after)} after,"
        f" difference {_number(change.difference)}"
    )


def point_line(point: Point) -> str:
    """Return a proposed operating point."""
    return (
        f"Proposed operating point: threshold {point.threshold:.6f}, uncertain from {point.band_low:.6f} to"
        f" {point.band_high:.6f}. `nightread thresholds set {point.name} --numbers {point.threshold:.6f}"
        f" {point.band_low:.6f} {point.band_high:.6f} --why REASON` puts it in force."
    )


def _number(number: Interval) -> str:
    return f"{number.value:.3f} [{number.low:.3f} to {number.high:.3f}]"
