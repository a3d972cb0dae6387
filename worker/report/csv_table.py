"""The morning report as a CSV table that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata

from worker import DISCLAIMER
from worker.report import content
from worker.report.content import FLAGGED_COLUMNS, Report

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


def as_csv(report: Report) -> str:
    """Return a table with one row for each flagged, uncertain, rejected or quarantined image.

    Every row also has the disclaimer, and `balanced`: whether all files of the run are accounted for.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["run", *FLAGGED_COLUMNS[:-1], "state", "reason", "file", "balanced", "disclaimer"])
    figures = report.figures
    run, balanced = escape_formula(figures.run.name), "yes" if figures.run.file_counts.balanced else "NO"
    for image in (*figures.flagged, *figures.rejected):
        row = content.flagged_row(image)
        values = [row[name] for name in FLAGGED_COLUMNS[:-1]]
        name = escape_formula(image.original_name)
        writer.writerow(
            [run, *values, image.state, escape_formula(image.reason or ""), name, balanced, DISCLAIMER]
        )
    return buffer.getvalue()


def escape_formula(name: str) -> str:
    """Keep a spreadsheet from running the text as a formula (OWASP, CSV injection).

    Compatible forms of the first character count as well, such as the full-width equals sign: a spreadsheet may take
    them for the plain one.
    """
    text = unicodedata.normalize("NFKC", name).lstrip()
    starts = text.startswith(_FORMULA_STARTS) or name.startswith(("\t", "\r", "\n"))
    return f"'{name}" if starts else name
