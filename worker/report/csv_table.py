"""The morning report as a CSV table that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata
from typing import Any

from sqlalchemy import Row

from worker import DISCLAIMER
from worker.ledger.reports import RunFigures
from worker.ledger.studies import PATIENT_COLUMNS
from worker.report import content
from worker.report.content import FLAGGED_COLUMNS, READING_COLUMNS, SITE_COLUMNS, Report

# With the lookalikes of the minus sign that have no compatible form.
_FORMULA_STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\N{MINUS SIGN}",
    "\N{HYPHEN}",
    "\N{NON-BREAKING HYPHEN}",
    "\N{EN DASH}",
)

_COUNTS = ("outside_population", "unknown_age")
_DISTANCES = ("distance_known", "far_from_training_data")
# The state in a row that stands for images that are missing.
NOT_LISTED = "not_listed"
_TYPED = ("other_finding", "note", "reader", "amended_why")
# New columns stand at the end: programs may count them.
COLUMNS = (
    "run",
    *(name for name in FLAGGED_COLUMNS if name not in {"population", "distance", "file", *PATIENT_COLUMNS}),
    *("state", "reason", "file", "balanced", "disclaimer", "population"),
    *_COUNTS,
    *PATIENT_COLUMNS,
    *READING_COLUMNS,
    *("run_id", "reason_code", "received_at", "scored_at"),
    *SITE_COLUMNS,
    "distance",
    *_DISTANCES,
)


def as_csv(report: Report) -> str:
    """Return a table with one row for each image of the run: `docs/report.md` says what each column means.

    Flagged and uncertain images come first, then clear ones, each the highest score first, then rejected and quarantined
    ones, then those that wait or were erased. If a list is cut, a last row without an image says so.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    figures = report.figures
    for image in (*figures.flagged, *figures.clear, *figures.rejected, *figures.others):
        row = _of_run(report) | _of_image(figures, image)
        writer.writerow([row[name] for name in COLUMNS])
    for sentence in report.cut:
        row = dict.fromkeys(COLUMNS, "") | _of_run(report) | {"state": NOT_LISTED, "reason": sentence}
        writer.writerow([row[name] for name in COLUMNS])
    return buffer.getvalue()


def _of_run(report: Report) -> dict[str, object]:
    counts = report.figures.run.file_counts
    return {
        "run": escape_formula(report.figures.run.name),
        "run_id": report.figures.run.id,
        "balanced": "yes" if counts.balanced else "NO",
        "disclaimer": DISCLAIMER,
        **{number: getattr(counts, number) for number in (*_COUNTS, *_DISTANCES)},
    }


def _of_image(figures: RunFigures, image: Row[Any]) -> dict[str, object]:
    reading = content.reading_cells(figures, image.id)
    return {
        **content.flagged_row(figures, image),
        **reading,
        **{name: escape_formula(str(reading[name])) for name in _TYPED},
        "state": image.state,
        "reason_code": image.reason_code or "",
        "reason": escape_formula(image.reason or ""),
        "file": escape_formula(image.original_name),
        # Of an image with a known age, too: `flagged_row` names only those outside.
        "population": image.population or "",
        "distance": "" if image.distance is None else image.distance,
        "received_at": image.received_at.isoformat(timespec="milliseconds"),
        "scored_at": image.scored_at.isoformat(timespec="milliseconds") if image.scored_at else "",
    }


def escape_formula(name: str) -> str:
    """Keep a spreadsheet from running the text as a formula (OWASP, CSV injection).

    Compatible forms of the first character count as well, such as the full-width equals sign: a spreadsheet may take
    them for the plain one.
    """
    text = unicodedata.normalize("NFKC", name).lstrip()
    starts = text.startswith(_FORMULA_STARTS) or name.startswith(("\t", "\r", "\n"))
    return f"'{name}" if starts else name
