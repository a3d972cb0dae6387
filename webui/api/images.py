"""Images over the API: send, look up, try again."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.actions import try_again
from webui.api.documents import image_document
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error, json_text
from webui.readers import required_reader_name
from webui.uploads import receive
from worker.ledger import review

api = Blueprint("api_images", __name__, url_prefix="/api/v1")


@api.post("/images")
def send() -> ResponseReturnValue:
    """Take files in. Each one's outcome is in the answer; a bad image is an answer, not an error."""
    reader = required_reader_name()
    with bad_request_on_value_error():
        received = receive(request, reader=reader)
    if not received.accepted and not received.missed:
        abort(400, "Send at least one file, in the multipart field files.")
    with dependencies().ledger.reading() as session:
        outcomes: list[dict[str, Any]] = [
            {
                "file": item.name,
                "outcome": item.outcome.value,
                "reason": item.reason,
                "receipt": item.receipt_id,
                "image": item.image_id,
                "queued": received.queued,
                **_known_verdict(session, item.image_id),
            }
            for item in received.accepted
        ]
    missed = [{"file": name, "outcome": "missed", "reason": "Send it again."} for name in received.missed]
    return [*outcomes, *missed]


@api.get("/images")
def look_up() -> ResponseReturnValue:
    """The image of these bytes."""
    sha256 = request.args.get("sha256", "").lower()
    if not sha256:
        abort(400, "Say which: ?sha256=...")
    with dependencies().ledger.reading() as session:
        return _document(session, review.image_id_of(session, sha256))


@api.get("/images/<key:image_id>")
def show(image_id: int) -> ResponseReturnValue:
    """All that is known of an image."""
    with dependencies().ledger.reading() as session:
        return _document(session, image_id)


@api.post("/images/<key:image_id>/retry")
def retry(image_id: int) -> ResponseReturnValue:
    """Queue a rejected or quarantined image again, with a reason."""
    return {"image": image_id, "queued": try_again(image_id, json_text("reason"))}


def _document(session: Session, image_id: int | None) -> ResponseReturnValue:
    image = None if image_id is None else review.open_image(session, image_id)
    if image is None:
        abort(404, "There is no such image.")
    return image_document(image, review.standing_reviews(session, [image]).get(image.id))


def _known_verdict(session: Session, image_id: int) -> dict[str, Any]:
    image = review.open_image(session, image_id)
    if image is None:
        return {}
    return {"state": image.state, "verdict": image.verdict, "p_pneumonia": image.p_pneumonia}
