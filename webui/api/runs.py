"""Runs over the API: their file counts, and the morning report in each format."""

from __future__ import annotations

import unicodedata

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from webui.api.documents import run_document
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports
from worker.report.content import read_report
from worker.report.formats import FORMATS

api = Blueprint("api_runs", __name__, url_prefix="/api/v1")

_CONTENT_TYPES = {
    "json": ("application/json", "json"),
    "csv": ("text/csv", "csv"),
    "text": ("text/plain", "txt"),
    "html": ("text/html", "html"),
}


@api.get("/runs")
def listing() -> ResponseReturnValue:
    """List the runs with their file counts, the latest first. `next` is the `before` of the next page."""
    with dependencies().ledger.reading() as session:
        page = reports.runs(session, before=before_parameter())
    return {
        "runs": [run_document(summary) for _, summary in page],
        "next": page[-1][0].id if page else None,
    }


@api.get("/runs/<path:name>/report")
def report(name: str) -> ResponseReturnValue:
    """Return the morning report of a run as a file to download."""
    format_name = request.args.get("format", "json")
    if format_name not in _CONTENT_TYPES:
        abort(400, f"`format` must be one of {', '.join(_CONTENT_TYPES)}")
    with dependencies().ledger.reading() as session:
        try:
            content = read_report(session, name)
        except LookupError as error:
            abort(404, str(error.args[0]))
    text = FORMATS[format_name](content)
    content_type, suffix = _CONTENT_TYPES[format_name]
    response = Response(text, content_type=f"{content_type}; charset=utf-8")
    response.headers.set(
        "Content-Disposition", "attachment", filename=f"nightread-{_ascii_name(name)}.{suffix}"
    )
    return response


def _ascii_name(name: str) -> str:
    """Return the name of a run in characters that every file system takes."""
    letters = unicodedata.normalize("NFKD", name)
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in letters)[:80]
