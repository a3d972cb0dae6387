"""The monitor over the API, as a file to download."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request
from flask.typing import ResponseReturnValue

from webui import monitor_query
from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.parameters import bad_request_on_value_error
from worker.report.monitor_figures import monitor_figures
from worker.report.monitor_formats import TABLES, as_csv, as_json

api = Blueprint("api_monitor", __name__, url_prefix="/api/v1")

_FORMATS = ("json", "csv")


@api.get("/monitor")
@needs(Permission.REPORTS)
def show() -> ResponseReturnValue:
    """Return the figures of the monitor; without names for who may not see images."""
    format_name, table = request.args.get("format", "json"), request.args.get("table", "periods")
    if format_name not in _FORMATS:
        abort(400, f"`format` must be one of {', '.join(_FORMATS)}")
    if table not in TABLES:
        abort(400, f"`table` must be one of {', '.join(TABLES)}")
    with bad_request_on_value_error():
        asked = monitor_query.parse(request.args)
    who = identity.current()
    with dependencies().ledger.reading() as session:
        try:
            figures = monitor_figures(
                session, asked, names=who.may(Permission.IMAGES), person=who.scopes is None
            )
        except LookupError as error:
            abort(404, as_sentence(error))
    if format_name == "json":
        return _file(as_json(figures), "application/json", "nightread-monitor.json")
    return _file(as_csv(figures, table), "text/csv", f"nightread-monitor-{table}.csv")


def _file(text: str, content_type: str, name: str) -> Response:
    response = Response(text, content_type=f"{content_type}; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response
