"""The figures of the workbench, and a site's read cases, as CSV tables: `docs/thresholds.md` says what each column means."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from worker import DISCLAIMER
from worker.report.csv_table import escape_formula
from worker.report.site_cases import SiteCases
from worker.report.workbench import CardColumn, SiteColumn, Trial
from worker.store import Area

FIGURE_COLUMNS = (
    "of", "images", "figure", "value", "value_to", "low", "high", "why_not", "threshold", "band_low", "band_high",
    "prevalence", "disclaimer",
)  # fmt: skip
CASE_COLUMNS = ("file", "label", "score", "weight", "verdict", "disclaimer")


def figures_as_csv(trial: Trial, columns: Iterable[CardColumn | SiteColumn]) -> str:
    """Return a table with one row for each figure of each column, with all digits."""
    return _table(FIGURE_COLUMNS, _figures(trial, columns))


def cases_as_csv(cases: SiteCases) -> str:
    """Return the read cases as a table for `nightread evaluate --table`: paths are those below the image store."""
    return _table(
        CASE_COLUMNS,
        (
            {
                "file": f"{Area.IMAGES}/{image.sha256[:2]}/{image.sha256}",
                "label": "pneumonia" if case.has_signs else "normal",
                "score": repr(case.score),
                "weight": repr(float(case.weight)),
                "verdict": image.verdict,
            }
            for image, case in cases.cases
        ),
    )


def _figures(trial: Trial, columns: Iterable[CardColumn | SiteColumn]) -> Iterator[dict[str, object]]:
    tried: dict[str, object] = {
        name: repr(getattr(trial, name)) for name in ("threshold", "band_low", "band_high", "prevalence")
    }
    for column in columns:
        of, images = (
            (escape_formula(column.name), column.n)
            if isinstance(column, CardColumn)
            else ("site", len(column.cases.every))
        )
        for name, figure in column.figures.items():
            yield tried | {
                "of": of,
                "images": images,
                "figure": name,
                "value": figure.least,
                "value_to": figure.most,
                "low": figure.low,
                "high": figure.high,
                "why_not": figure.why_not,
            }


def _table(columns: Sequence[str], rows: Iterable[dict[str, object]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "disclaimer": DISCLAIMER})
    return buffer.getvalue()
