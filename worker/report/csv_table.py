"""The morning report as a CSV table that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata

from worker import DISCLAIMER
from worker.ledger.studies import PATIENT_COLUMNS
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

    Every row also has what is known of the patient, the disclaimer, and of the run: `balanced`, whether all files are
    accounted for, and the numbers of scored images of patients outside the population and of unknown age.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    names = [name for name in FLAGGED_COLUMNS if name not in {"population", "file", *PATIENT_COLUMNS}]
    of_run = ("outside_population", "unknown_age")
    # New columns stand at the end: programs may count them.
    last = ["file", "balanced", "disclaimer", "population", *of_run, *PATIENT_COLUMNS]
    writer.writerow(["run", *names, "state", "reason", *last])
    figures = report.figures
    counts = figures.run.file_counts
    run, balanced = escape_formula(figures.run.name), "yes" if counts.balanced else "NO"
    for image in (*figures.flagged, *figures.rejected):
        row = content.flagged_row(figures, image)
        values = [row[name] for name in names]
        reason, file = escape_formula(image.reason or ""), escape_formula(image.original_name)
        population = [image.population or "", *(getattr(counts, number) for number in of_run)]
        patient = [row[name] for name in PATIENT_COLUMNS]
        writer.writerow(
            [run, *values, image.state, reason, file, balanced, DISCLAIMER, *population, *patient]
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
