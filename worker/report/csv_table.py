"""The morning report as a CSV table that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io

from worker import DISCLAIMER
from worker.report import content
from worker.report.content import FLAGGED_COLUMNS, Report


def as_csv(report: Report) -> str:
    """Return a table with one row for each flagged, uncertain, rejected or quarantined image.

    Every row also has the disclaimer, and `balanced`: whether all files of the run are accounted for.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["run", *FLAGGED_COLUMNS[:-1], "state", "reason", "file", "balanced", "disclaimer"])
    figures = report.figures
    run, balanced = _escape_formula(figures.run.name), "yes" if figures.run.file_counts.balanced else "NO"
    for image in (*figures.flagged, *figures.rejected):
        row = content.flagged_row(image)
        values = [row[name] for name in FLAGGED_COLUMNS[:-1]]
        name = _escape_formula(image.original_name)
        writer.writerow([run, *values, image.state, image.reason or "", name, balanced, DISCLAIMER])
    return buffer.getvalue()


def _escape_formula(name: str) -> str:
    """Keep a spreadsheet from running the text as a formula (OWASP, CSV injection)."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
