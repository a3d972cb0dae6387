"""The formats that a morning report can be written in."""

from __future__ import annotations

from collections.abc import Callable

from worker.report.content import Report
from worker.report.csv_table import as_csv
from worker.report.html_page import as_html
from worker.report.json_document import as_json
from worker.report.text import as_text

FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text,
    "html": as_html,
    "csv": as_csv,
    "json": as_json,
}
# Programs read these, and need every image. People read the others.
WHOLE = frozenset({"csv", "json"})
