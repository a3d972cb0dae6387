"""Images over the API: upload, look up, retry."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui import actions
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.api.documents import image_document
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error, json_text
from webui.uploads import accept_upload
from worker.ledger import calibrations, reading_queue, review, users
from worker.ledger.accesses import AccessKind
from worker.ledger.related_images import related_images
from worker.ledger.session import ledger_time

api = Blueprint("api_images", __name__, url_prefix="/api/v1")


@api.post("/images")
@needs(Permission.UPLOAD)
def send() -> ResponseReturnValue:
    """Accept files. The response has the outcome of each; a rejected file is not an error."""
    with bad_request_on_value_error():
        result = accept_upload(request)
    if not result.accepted and not result.missed:
        abort(400, "Send at least one file in the multipart field 'files'.")
    with dependencies().ledger.reading() as session:
        outcomes: list[dict[str, Any]] = [
            {
                "file": item.name,
                "outcome": item.outcome.value,
                "reason": item.reason,
                "receipt": item.receipt_id,
                "image": item.image_id,
                "queued": result.queued,
                **_state(session, item.image_id),
            }
            for item in result.accepted
        ]
    missed = [
        {"file": name, "outcome": "missed", "reason": "The file could not be read. Send it again."}
        for name in result.missed
    ]
    return [*outcomes, *missed]


@api.get("/images")
@needs(Permission.IMAGES)
def look_up() -> ResponseReturnValue:
    """Return the image with this SHA-256."""
    sha256 = request.args.get("sha256", "").lower()
    if not sha256:
        abort(400, "Name the file's SHA-256 in the query: ?sha256=...")
    with dependencies().ledger.reading() as session:
        document = _document(session, reading_queue.image_id_of(session, sha256))
    return _viewed(document)


@api.get("/images/<id:image_id>")
@needs(Permission.IMAGES)
def show(image_id: int) -> ResponseReturnValue:
    """Return an image."""
    with dependencies().ledger.reading() as session:
        document = _document(session, image_id)
    return _viewed(document)


@api.post("/images/<id:image_id>/retry")
@needs(Permission.RETRY)
def retry(image_id: int) -> ResponseReturnValue:
    """Make a rejected or quarantined image pending again, with a reason."""
    return {"image": image_id, "queued": actions.retry(image_id, json_text("reason"))}


def _viewed(document: dict[str, Any]) -> dict[str, Any]:
    """Record a view of the image and return its document."""
    record(AccessKind.VIEW, "document", image_id=document["image"])
    return document


def _document(session: Session, image_id: int | None) -> dict[str, Any]:
    image = None if image_id is None else reading_queue.open_image(session, image_id)
    if image is None:
        abort(404, "There is no such image.")
    names = users.names_of(session, [receipt.received_by for receipt in image.receipts])
    related = related_images(session, image, ledger_time(session))
    standing = review.standing_reviews(session, [image]).get(image.id)
    layers = calibrations.of_models(session, [prediction.model_id for prediction in image.predictions])
    return image_document(image, standing, names, related, blinding(session, [image]), layers)


def _state(session: Session, image_id: int) -> dict[str, Any]:
    image = reading_queue.open_image(session, image_id)
    if image is None:
        return {}
    if blinding(session, [image]).hides_score(image):
        return {"state": image.state, "verdict": None, "p_pneumonia": None}
    return {"state": image.state, "verdict": image.verdict, "p_pneumonia": image.p_pneumonia}
