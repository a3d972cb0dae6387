"""Reading over the API: the queue, a verdict, taking it back."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import actions
from webui.api.documents import queue_row, review_document
from webui.dependencies import dependencies
from webui.parameters import json_text, queue_view_parameter
from worker import DISCLAIMER
from worker.ledger import review

api = Blueprint("api_reading", __name__, url_prefix="/api/v1")


@api.get("/queue")
def queue() -> ResponseReturnValue:
    """A page of the queue; `next` is the `after` of the page below."""
    queue_view = queue_view_parameter()
    with dependencies().ledger.reading() as session:
        page = review.queue(session, queue_view.wanted, after=queue_view.after)
        return {
            "disclaimer": DISCLAIMER,
            "total": page.total,
            "next": str(page.next) if page.next else None,
            "images": [queue_row(image, page.standing.get(image.id)) for image in page.images],
        }


@api.post("/images/<key:image_id>/review")
def decide(image_id: int) -> ResponseReturnValue:
    """Record the reader's verdict on an image; `next` is the next image of the queue."""
    act, following = actions.decide(
        image_id, json_text("action"), json_text("note", ""), queue_view_parameter()
    )
    return review_document(act) | {"next": following}


@api.post("/undo")
def undo() -> ResponseReturnValue:
    """Take back the reader's last verdict."""
    return {"image": actions.undo()}
