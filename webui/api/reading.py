"""Reading over the API: the queue, a verdict, taking it back."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webui import acts
from webui.api.documents import queue_row, review_document
from webui.asking import place_of_request, text_of
from webui.services import services
from worker import DISCLAIMER
from worker.ledger import review

api = Blueprint("api_reading", __name__, url_prefix="/api/v1")


@api.get("/queue")
def queue() -> ResponseReturnValue:
    """A page of the queue; `next` is the `after` of the page below."""
    place = place_of_request()
    with services().ledger.reading() as session:
        page = review.queue(session, place.wanted, after=place.after)
        return {
            "disclaimer": DISCLAIMER,
            "total": page.total,
            "next": str(page.next) if page.next else None,
            "images": [queue_row(image, page.standing.get(image.id)) for image in page.images],
        }


@api.post("/images/<key:image_id>/review")
def decide(image_id: int) -> ResponseReturnValue:
    """Record the reader's verdict on an image; `next` is the next image of the queue."""
    act, following = acts.decide(image_id, text_of("action"), text_of("note", ""), place_of_request())
    return review_document(act) | {"next": following}


@api.post("/undo")
def undo() -> ResponseReturnValue:
    """Take back the reader's last verdict."""
    return {"image": acts.undo()}
