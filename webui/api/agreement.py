"""Agreement of readers and missed cases over the API, as a file to download."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.agreement_query import figures_of_readings
from webui.dependencies import dependencies
from worker.report.reading_figures_formats import FORMATS

api = Blueprint("api_agreement", __name__, url_prefix="/api/v1")

_CONTENT_TYPES = {"json": "application/json", "csv": "text/csv"}


@api.get("/agreement")
@needs(Permission.REPORTS)
def show() -> ResponseReturnValue:
    """Return how readers agree and what the model misses; without names for who may not see images."""
    format_name = request.args.get("format", "json")
    if format_name not in FORMATS:
        abort(400, f"`format` must be one of {', '.join(FORMATS)}")
    with dependencies().ledger.reading() as session:
        figures = figures_of_readings(session, names=identity.current().may(Permission.IMAGES))
    content_type = _CONTENT_TYPES[format_name]
    response = Response(FORMATS[format_name](figures), content_type=f"{content_type}; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=f"nightread-agreement.{format_name}")
    return response
