"""Reading over the API: the queue, a reading, undo."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record_search
from webui.access.permissions import Permission, needs
from webui.api.documents import queue_row, review_document
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error, json_flag, json_id, json_text, queue_view_parameter
from worker import DISCLAIMER
from worker.ledger import reading_queue, studies
from worker.ledger.findings import Seen

api = Blueprint("api_reading", __name__, url_prefix="/api/v1")


@api.get("/queue")
@needs(Permission.IMAGES)
def queue() -> ResponseReturnValue:
    """Return a page of the queue. `next` is the `after` of the next page, `previous` the `before` of the previous one."""
    queue_view = queue_view_parameter()
    record_search(queue_view)
    with dependencies().ledger.reading() as session:
        page = reading_queue.queue(
            session, queue_view.filter, after=queue_view.after, before=queue_view.before
        )
        hidden = blinding(session, page.images)
        patients = studies.patients(session, [image.id for image in page.images])
        return {
            "disclaimer": DISCLAIMER,
            "total": page.total,
            "total_exact": page.whole.exact,
            "first": page.first,
            "searched": page.searched,
            "next": str(page.next) if page.next else None,
            "previous": str(page.previous) if page.previous else None,
            "images": [
                queue_row(image, page.standing.get(image.id), patients.get(image.id), hidden)
                for image in page.images
            ],
        }


@api.post("/images/<id:image_id>/review")
@needs(Permission.READ)
def decide(image_id: int) -> ResponseReturnValue:
    """Record a reading of an image, or change the reader's own reading. `next` is the next image of the queue."""
    with bad_request_on_value_error():
        said = actions.statement(
            json_text("finding"),
            json_text("reason", ""),
            json_text("note", ""),
            json_text("other_finding", ""),
        )
    amends = json_id("amends")
    if amends is not None:
        return review_document(actions.amend(image_id, amends, said, _seen(), json_text("why", ""))) | {
            "next": None
        }
    decided = actions.decide(image_id, said, _seen(), queue_view_parameter())
    return review_document(decided.reading) | {"next": decided.next_id}


@api.post("/undo")
@needs(Permission.READ)
def undo() -> ResponseReturnValue:
    """Take back a reading of the reader: the one in `review`, or the last."""
    undone = actions.undo(json_id("review"), _seen())
    return {"image": undone.image_id, "review": undone.id}


def _seen() -> Seen:
    """Return what the reader had in front of them, as far as the request says it."""
    return Seen(json_id("prediction"), json_flag("score_shown"), json_flag("map_shown"), json_id("open_ms"))
