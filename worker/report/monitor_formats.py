"""The monitor as CSV tables and as a JSON document: `docs/monitoring.md` says what each column means."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from worker import DISCLAIMER
from worker.ledger.session import utc_now
from worker.monitor.drift import Drift
from worker.monitor.estimates import Estimate
from worker.report.csv_table import escape_formula
from worker.report.monitor_figures import SHARES, Figures, MonitorFigures

Row = dict[str, object]
_DRIFTS = ("from_card", "from_earlier")
_ENDS = ("value", "low", "high", "n")
_OF_DRIFT = ("psi", "p", "n", "expected_n")


def as_csv(figures: MonitorFigures, table: str) -> str:
    """Return one of `TABLES`. A figure that is not known is empty. Raises KeyError for another table."""
    rows = [{**row, "disclaimer": DISCLAIMER} for row in TABLES[table](figures)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*COLUMNS[table], "disclaimer"], restval="")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_json(figures: MonitorFigures) -> str:
    """Return the figures as indented JSON text."""
    return json.dumps(document(figures), indent=2, ensure_ascii=False) + "\n"


def document(figures: MonitorFigures) -> Row:
    """Return the figures as plain data; times are ISO 8601 in UTC, shares 0 to 1."""
    asked, model = figures.asked, figures.model
    return {
        "disclaimer": DISCLAIMER,
        "written_at": utc_now().isoformat(timespec="seconds"),
        "period": asked.period.value,
        "by": asked.dimension.value,
        "group": asked.group,
        "model": model and {"name": model.name, "version": model.version, "sha256": model.sha256},
        "expected": asdict(figures.expected),
        "first": _iso(figures.first),
        "last": _iso(figures.last),
        "recent": _iso(figures.recent),
        "as_of": figures.as_of.isoformat(timespec="seconds") if figures.as_of else None,
        "days_to_count": figures.left,
        "days_withheld": figures.withheld,
        "scored_by_other_models": figures.others,
        "changes": list(figures.found.alerts) if figures.found else None,
        "compared_until": _iso(figures.found.day) if figures.found else None,
        "whole": _figures(figures.whole) if figures.whole else None,
        "periods": [_figures(one) for one in figures.periods],
        "groups": [_figures(one) for one in figures.groups],
        "rejected": [asdict(one) for one in figures.rejected],
        "calibration": [asdict(one) for one in figures.calibration],
    }


def _figures(one: Figures) -> Row:
    """Return the figures of a group; of one that is too small, only that it is."""
    row: Row = {
        "key": one.key,
        "name": one.name,
        "first": _iso(one.first),
        "last": _iso(one.last),
        "complete": one.is_complete,
        "too_small": one.is_small,
    }
    if one.is_small:
        return row
    row |= {"images": one.images, "judged": one.judged}
    for name in (*SHARES, *_DRIFTS):
        figure = getattr(one, name)
        row[name] = None if figure is None else asdict(figure)
    return row


def _rows_of(parts: Iterator[Figures]) -> Iterator[Row]:
    for one in parts:
        row: Row = {
            "key": escape_formula(one.key),
            "name": escape_formula(one.name),
            "first": _iso(one.first),
            "last": _iso(one.last),
            "complete": "yes" if one.is_complete else "no",
            "too_small": "yes" if one.is_small else "no",
        }
        if not one.is_small:
            row |= {"images": one.images, "judged": one.judged}
            for name in SHARES:
                row |= _cells(name, getattr(one, name))
            for name in _DRIFTS:
                row |= _drift_cells(name, getattr(one, name))
        yield row


def _cells(name: str, figure: Estimate | None) -> Row:
    return {f"{name}_{end}": None if figure is None else getattr(figure, end) for end in _ENDS}


def _drift_cells(name: str, figure: Drift | None) -> Row:
    return {f"{name}_{part}": None if figure is None else getattr(figure, part) for part in _OF_DRIFT}


def _periods(figures: MonitorFigures) -> Iterator[Row]:
    return _rows_of(iter(figures.periods))


def _groups(figures: MonitorFigures) -> Iterator[Row]:
    return _rows_of(iter(figures.groups))


def _rejected(figures: MonitorFigures) -> Iterator[Row]:
    for one in figures.rejected:
        yield {"reason": one.reason, "images": one.images, **_cells("share", one.share)}


def _calibration(figures: MonitorFigures) -> Iterator[Row]:
    for one in figures.calibration:
        yield {"score_from": one.low, "score_to": one.high, **_cells("share", one.share)}


def _changes(figures: MonitorFigures) -> Iterator[Row]:
    for alert in figures.found.alerts if figures.found else ():
        row: Row = {
            name: escape_formula(str(alert[name]))
            for name in ("dimension", "group", "figure", "since", "found", "cause", "sure", "sentence")
        }
        yield {**row, "attention": "yes" if alert["attention"] else "no"}


TABLES: Mapping[str, Callable[[MonitorFigures], Iterator[Row]]] = {
    "periods": _periods,
    "groups": _groups,
    "rejected": _rejected,
    "calibration": _calibration,
    "changes": _changes,
}
_FIGURE_COLUMNS = (
    *("key", "name", "first", "last", "too_small", "images", "judged"),
    # New columns stand at the end: programs may count them.
    *(f"{name}_{end}" for name in SHARES if name != "far" for end in _ENDS),
    *(f"{name}_{part}" for name in _DRIFTS for part in _OF_DRIFT),
    "complete",
    *(f"far_{end}" for end in _ENDS),
)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "periods": _FIGURE_COLUMNS,
    "groups": _FIGURE_COLUMNS,
    "rejected": ("reason", "images", *(f"share_{end}" for end in _ENDS)),
    "calibration": ("score_from", "score_to", *(f"share_{end}" for end in _ENDS)),
    "changes": (
        *("dimension", "group", "figure", "since", "found", "cause", "sure", "sentence", "attention"),
    ),
}


def _iso(at: object) -> str | None:
    return at.isoformat() if hasattr(at, "isoformat") else None
