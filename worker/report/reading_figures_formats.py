"""Agreement and missed cases as a CSV table and as a JSON document: `docs/reading.md` says what each column means."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from worker import DISCLAIMER
from worker.ledger.findings import Finding
from worker.ledger.session import utc_now
from worker.report.agreement import Agreement, Estimate
from worker.report.csv_table import escape_formula
from worker.report.reading_figures import OfModel, OfReaders, ReadingFigures

COLUMNS = (
    "part", "figure", "reader", "other_reader", "first_finding", "second_finding", "images", "value", "low", "high",
    "why_not", "score_first", "disclaimer",
)  # fmt: skip
Row = dict[str, object]


def as_csv(figures: ReadingFigures) -> str:
    """Return a table with one row for each figure and each count."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="")
    writer.writeheader()
    for row in (*_rows_of_readers(figures.readers), *_rows_of_model(figures.model)):
        writer.writerow({**row, "disclaimer": DISCLAIMER})
    return buffer.getvalue()


def as_json(figures: ReadingFigures) -> str:
    """Return the figures as indented JSON text."""
    return json.dumps(document(figures), indent=2, ensure_ascii=False) + "\n"


def document(figures: ReadingFigures) -> dict[str, object]:
    """Return the figures as plain data; times are ISO 8601 in UTC."""
    readers, model = figures.readers, figures.model
    return {
        "disclaimer": DISCLAIMER,
        "written_at": utc_now().isoformat(timespec="seconds"),
        "agreement": {
            "pairs": readers.pairs,
            "left_out": readers.left_out,
            "score_first": readers.score_shown,
            "earliest": _iso(readers.earliest),
            "latest": _iso(readers.latest),
            "findings": [finding.value for finding in Finding],
            "table": readers.table,
            **_estimates(readers.figures),
            "disagreements": asdict(readers.disagreements) if readers.disagreements else None,
            "readers": [
                {"readers": list(two.readers), "pairs": two.figures.pairs, **_estimates(two.figures)}
                for two in readers.of_two
            ],
            "too_few": readers.too_few,
        },
        "missed": _missed(model),
    }


FORMATS: dict[str, Callable[[ReadingFigures], str]] = {"json": as_json, "csv": as_csv}


def _missed(model: OfModel) -> dict[str, object]:
    extent, read = model.extent, model.read
    return {
        "runs": list(extent.runs),
        "images": model.images,
        "share_drawn": extent.share,
        "earliest": _iso(extent.earliest),
        "latest": _iso(extent.latest),
        "runs_waiting": [run.run_id for run in extent.waiting],
        "runs_mixed": extent.mixed,
        "runs_too_large": extent.too_large,
        "runs_of_another_share": extent.other_share,
        "flagged_or_uncertain": asdict(read.shown) | {"unread": read.unread},
        "clear": read.clear,
        "sample": asdict(read.sample),
        "recognisable": model.recognisable,
        "cases": _estimate(model.missed.cases) if model.missed else None,
        "sensitivity": _estimate(model.missed.sensitivity) if model.missed else None,
        "why_not": model.why_not,
    }


def _estimates(figures: Agreement | None) -> dict[str, object]:
    if figures is None:
        return {"raw": None, "kappa": None, "ac1": None}
    return {name: _estimate(getattr(figures, name)) for name in ("raw", "kappa", "ac1")}


def _estimate(estimate: Estimate) -> dict[str, object]:
    said = asdict(estimate)
    return {name: said[name] for name in ("value", "low", "high", "why_not")}


def _rows_of_readers(readers: OfReaders) -> Iterator[Row]:
    part: Row = {"part": "agreement"}
    yield {**part, "figure": "pairs", "images": readers.pairs, "score_first": readers.score_shown}
    yield {**part, "figure": "left_out", "images": readers.left_out}
    for first, row in zip(Finding, readers.table or (), strict=False):
        for second, images in zip(Finding, row, strict=True):
            cell: Row = {"first_finding": first.value, "second_finding": second.value, "images": images}
            yield {**part, "figure": "findings", **cell}
    if readers.figures:
        yield from _rows_of_estimates(part, readers.figures)
    for name, images in asdict(readers.disagreements).items() if readers.disagreements else ():
        yield {**part, "figure": f"disagreements_{name}", "images": images}
    for two in readers.of_two:
        names = map(escape_formula, two.readers)
        yield from _rows_of_estimates(
            part | dict(zip(("reader", "other_reader"), names, strict=True)), two.figures
        )


def _rows_of_estimates(start: Row, figures: Agreement) -> Iterator[Row]:
    for name in ("raw", "kappa", "ac1"):
        yield {**start, "figure": name, "images": figures.pairs, **_estimate(getattr(figures, name))}


def _rows_of_model(model: OfModel) -> Iterator[Row]:
    part: Row = {"part": "missed"}
    read, extent = model.read, model.extent
    yield {**part, "figure": "share_drawn", "images": model.images, "value": extent.share}
    counts: Sequence[tuple[str, Any]] = (("flagged_or_uncertain", read.shown), ("sample", read.sample))
    for name, findings in counts:
        for finding in ("with_signs", "without_signs", "not_judged"):
            yield {**part, "figure": f"{name}_{finding}", "images": getattr(findings, finding)}
        yield {**part, "figure": f"{name}_read", "images": findings.read, "score_first": findings.score_first}
    yield {**part, "figure": "flagged_or_uncertain_unread", "images": read.unread}
    yield {**part, "figure": "clear", "images": read.clear}
    if model.missed is None:
        yield {**part, "figure": "cases", "why_not": model.why_not}
        yield {**part, "figure": "sensitivity", "why_not": model.why_not}
        return
    marked: Row = {"score_first": model.score_first}
    sampled = read.sample.judged
    yield {**part, "figure": "cases", "images": sampled, **_estimate(model.missed.cases), **marked}
    judged = sampled + read.shown.with_signs
    yield {**part, "figure": "sensitivity", "images": judged, **_estimate(model.missed.sensitivity), **marked}


def _iso(at: Any) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
