"""Health, readiness and metrics, for supervisors, load balancers and monitoring."""

from __future__ import annotations

from flask import Blueprint, abort, current_app
from flask.typing import ResponseReturnValue

from webui.dependencies import dependencies
from webui.metrics import CONTENT_TYPE, exposition
from worker.errors import BrokerAway
from worker.ledger import schema
from worker.ledger.session import ledger_time
from worker.ledger.status import status_document

api = Blueprint("api_health", __name__)


@api.get("/healthz")
def alive() -> ResponseReturnValue:
    """Answer 200 while this process works. Problems elsewhere are only listed: a restart would not help."""
    return {"ok": True, "troubles": _troubles()}


@api.get("/readyz")
def ready() -> ResponseReturnValue:
    """Answer 200 while the database can be used. The broker and other problems are only listed."""
    current = schema.current(dependencies().ledger)
    if current != dependencies().newest_schema:
        abort(503, "The database schema is outdated. Run `nightread db upgrade`.")
    return {"ready": True, "schema": current, "broker": _broker(), "troubles": _troubles()}


@api.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Return the metrics in Prometheus' text format."""
    text = exposition(dependencies().status_cache.read(), dependencies().acceptor.free_bytes())
    return current_app.response_class(text, content_type=CONTENT_TYPE)


@api.get("/api/v1/status")
def status() -> ResponseReturnValue:
    """Return the document of `nightread status --json`."""
    with dependencies().ledger.reading() as session:
        return status_document(session, ledger_time(session))


@api.get("/api/v1/openapi.json")
def description() -> ResponseReturnValue:
    """Return the OpenAPI document of this API."""
    with current_app.open_resource("api/openapi.json") as file:
        return current_app.response_class(file.read(), mimetype="application/json")


def _troubles() -> list[str]:
    status = dependencies().status_cache.read()
    return ["The database cannot be reached."] if status is None else list(status["troubles"])


def _broker() -> str:
    try:
        dependencies().dispatcher.depths()
    except BrokerAway:
        return "out of reach"
    return "reachable"
