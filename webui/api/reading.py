"""Reading over the API: the queue, a reading, undo."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record_search
from webui.access.permissions import Permission, needs
from webui.api.documents import queue_row, review_document
from webui.dependencies import dependencies
from webui.parameters import json_id, json_text, queue_view_parameter
from worker import DISCLAIMER
from worker.ledger import reading_queue, studies

api = Blueprint("api_reading", __name__, url_prefix="/api/v1")


@api.get("/queue")
@needs(Permission.IMAGES)
def queue() -> ResponseReturnValue:
    """Return a page of the queue. `next` is the `after` of the next page."""
    queue_view = queue_view_parameter()
    record_search(queue_view)
    with dependencies().ledger.reading() as session:
        page = reading_queue.queue(session, queue_view.filter, after=queue_view.after)
        patients = studies.patients(session, [image.id for image in page.images])
        return {
            "disclaimer": DISCLAIMER,
            "total": page.total,
            "next": str(page.next) if page.next else None,
            "images": [
                queue_row(image, page.standing.get(image.id), patients.get(image.id)) for image in page.images
            ],
        }


@api.post("/images/<id:image_id>/review")
@needs(Permission.READ)
def decide(image_id: int) -> ResponseReturnValue:
    """Record a reading of an image. `next` is the next image of the queue."""
    reading, next_id = actions.decide(
        image_id,
        json_text("action"),
        json_text("note", ""),
        queue_view_parameter(),
        json_id("prediction"),
    )
    return review_document(reading) | {"next": next_id}


@api.post("/undo")
@needs(Permission.READ)
def undo() -> ResponseReturnValue:
    """Undo the reader's last reading."""
    return {"image": actions.undo()}
