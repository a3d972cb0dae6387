"""Runs over the API: their file counts, and the morning report in each format."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.api.documents import run_document
from webui.blinding import blinding_of_run
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports
from worker.ledger.accesses import AccessKind
from worker.ledger.runs import public_name, run_at
from worker.report.content import report_of
from worker.report.formats import FORMATS, WHOLE

api = Blueprint("api_runs", __name__, url_prefix="/api/v1")

_CONTENT_TYPES = {
    "json": ("application/json", "json"),
    "csv": ("text/csv", "csv"),
    "text": ("text/plain", "txt"),
    "html": ("text/html", "html"),
}


@api.get("/runs")
@needs(Permission.IMAGES)
def listing() -> ResponseReturnValue:
    """List the runs with their file counts, the latest first. `next` is the `before` of the next page."""
    with dependencies().ledger.reading() as session:
        page = reports.runs(session, before=before_parameter())
    return {
        "runs": [run_document(summary) for _, summary in page],
        "next": page[-1][0].id if page else None,
    }


@api.get("/runs/<run:run>/report")
@needs(Permission.REPORTS)
def report(run: str) -> ResponseReturnValue:
    """Return the morning report of a run as a file to download; without names for who may not see images."""
    format_name = request.args.get("format", "json")
    if format_name not in _CONTENT_TYPES:
        abort(400, f"`format` must be one of {', '.join(_CONTENT_TYPES)}")
    with dependencies().ledger.reading() as session:
        found = run_at(session, run)
        if found is None:
            abort(404, f"There is no run {run}.")
        content = report_of(
            session,
            found,
            names=identity.current().may(Permission.IMAGES),
            whole=format_name in WHOLE,
            hidden=blinding_of_run(session, found.id),
        )
        name = public_name(found.id, found.name)
    record(AccessKind.EXPORT, format_name, run_id=found.id)
    text = FORMATS[format_name](content)
    content_type, suffix = _CONTENT_TYPES[format_name]
    response = Response(text, content_type=f"{content_type}; charset=utf-8")
    response.headers.set(
        "Content-Disposition", "attachment", filename=f"nightread-{name.replace(' ', '-')}.{suffix}"
    )
    return response
