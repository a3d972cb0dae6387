"""Images that an upgrade scored again, over the API: the list, and that the reader has seen them."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.api.documents import rescore_row
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.parameters import after_parameter, json_ids
from worker import DISCLAIMER
from worker.ledger import rescores
from worker.ledger.accesses import AccessKind

api = Blueprint("api_rescored", __name__, url_prefix="/api/v1")

_PAGE_SIZE = 100


@api.get("/rescored")
@needs(Permission.IMAGES)
def listing() -> ResponseReturnValue:
    """List the images that nobody has seen since they were scored again. `next` is the `after` of the next page."""
    record(AccessKind.SEARCH, "rescored")
    with dependencies().ledger.reading() as session:
        rows = rescores.unseen(session, after=after_parameter() or 0, limit=_PAGE_SIZE)
        hidden = blinding(session, [row.image for row in rows])
        return {
            "disclaimer": DISCLAIMER,
            "total": rescores.unseen_count(session),
            "next": rows[-1].id if rows else None,
            "images": [rescore_row(row, hidden) for row in rows],
        }


@api.post("/rescored/seen")
@needs(Permission.READ)
def seen() -> ResponseReturnValue:
    """Record that the reader has seen images. The answer has how many were unseen until now."""
    return {"seen": actions.mark_seen(json_ids("rescores", _PAGE_SIZE))}
