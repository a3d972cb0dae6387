"""Health, readiness and metrics, for supervisors, load balancers and monitoring."""

from __future__ import annotations

from flask import Blueprint, abort, current_app
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.metrics import CONTENT_TYPE, exposition
from worker.errors import BrokerAway
from worker.ledger import schema
from worker.ledger.session import ledger_time
from worker.ledger.status import status_document

api = Blueprint("api_health", __name__)


@api.get("/healthz")
@needs(Permission.EVERYONE)
def alive() -> ResponseReturnValue:
    """Answer 200 while this process works.

    Problems elsewhere are only listed, for whoever may see them: a restart would not help.
    """
    return {"ok": True} | ({"troubles": _troubles()} if _may_see_troubles() else {})


@api.get("/readyz")
@needs(Permission.EVERYONE)
def ready() -> ResponseReturnValue:
    """Answer 200 while the database can be used. The broker and other problems are only listed."""
    current = schema.current(dependencies().ledger)
    if current != dependencies().newest_schema:
        abort(503, "The database schema is outdated. Run `nightread db upgrade`.")
    if not _may_see_troubles():
        return {"ready": True}
    return {"ready": True, "schema": current, "broker": _broker(), "troubles": _troubles()}


@api.get("/metrics")
@needs(Permission.METRICS)
def metrics() -> ResponseReturnValue:
    """Return the metrics in Prometheus' text format."""
    text = exposition(dependencies().status_cache.read(), dependencies().acceptor.free_bytes())
    return current_app.response_class(text, content_type=CONTENT_TYPE)


@api.get("/api/v1/status")
@needs(Permission.TROUBLES)
def status() -> ResponseReturnValue:
    """Return the document of `nightread status --json`."""
    with dependencies().ledger.reading() as session:
        return status_document(session, ledger_time(session))


@api.get("/api/v1/openapi.json")
@needs(Permission.EVERYONE)
def description() -> ResponseReturnValue:
    """Return the OpenAPI document of this API."""
    with current_app.open_resource("api/openapi.json") as file:
        return current_app.response_class(file.read(), mimetype="application/json")


def _may_see_troubles() -> bool:
    return identity.current_if_known().may(Permission.TROUBLES)


def _troubles() -> list[str]:
    status = dependencies().status_cache.read()
    return ["The database cannot be reached."] if status is None else list(status["troubles"])


def _broker() -> str:
    try:
        dependencies().dispatcher.depths()
    except BrokerAway:
        return "out of reach"
    return "reachable"
