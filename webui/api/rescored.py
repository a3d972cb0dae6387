"""Images that an upgrade scored again, over the API: the list, and that the reader has seen them."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import actions
from webui.api.documents import rescore_row
from webui.dependencies import dependencies
from webui.parameters import after_parameter, json_ids
from worker import DISCLAIMER
from worker.ledger import rescores

api = Blueprint("api_rescored", __name__, url_prefix="/api/v1")

_PAGE_SIZE = 100


@api.get("/rescored")
def listing() -> ResponseReturnValue:
    """List the images that nobody has seen since they were scored again. `next` is the `after` of the next page."""
    with dependencies().ledger.reading() as session:
        rows = rescores.unseen(session, after=after_parameter() or 0, limit=_PAGE_SIZE)
        return {
            "disclaimer": DISCLAIMER,
            "total": rescores.unseen_count(session),
            "next": rows[-1].id if rows else None,
            "images": [rescore_row(row) for row in rows],
        }


@api.post("/rescored/seen")
def seen() -> ResponseReturnValue:
    """Record that the reader has seen images. The answer has how many were unseen until now."""
    return {"seen": actions.mark_seen(json_ids("rescores", _PAGE_SIZE))}
