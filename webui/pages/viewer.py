"""The viewer: one image, its prediction, and the reader's decision."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.dependencies import dependencies
from webui.formatting import FINDINGS, visible
from webui.ids import id_of
from webui.parameters import bad_request_on_value_error, queue_view_parameter
from webui.queue_view import QueueView, cursor_of
from webui.readers import acting_reader, reader_name
from worker.ledger import reading_queue, review
from worker.ledger.review import Action, Finding, ReviewRefused
from worker.ledger.session import ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

pages = Blueprint("viewer", __name__)


@pages.get("/review/<id:image_id>")
def show(image_id: int) -> ResponseReturnValue:
    """Show an image and claim it for the reader, if they have entered their name."""
    queue_view = queue_view_parameter()
    _claim(image_id)
    with dependencies().ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        return render_template(
            "viewer.html",
            image=image,
            prediction=image.prediction,
            standing=review.standing_reviews(session, [image]).get(image_id),
            holder=_other_reader(image, ledger_time(session)),
            unread=image.review_state == ReviewState.UNREAD,
            queue_view=queue_view,
            unread_count=reading_queue.count(session, queue_view.unread),
            neighbours=reading_queue.neighbours(session, queue_view.filter, cursor_of(image)),
        )


@pages.post("/review/<id:image_id>/decide")
def decide(image_id: int) -> ResponseReturnValue:
    """Record a reading and open the next image of the reader's list."""
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        seen_prediction_id = id_of(request.form.get("prediction"))
    try:
        reading, next_id = actions.decide(
            image_id,
            request.form.get("action", ""),
            request.form.get("note", ""),
            queue_view,
            seen_prediction_id,
        )
    except ReviewRefused as refusal:
        flash(str(refusal), "problem")
        return _redirect(image_id, queue_view)
    decision = "Confirmed" if reading.action == Action.CONFIRM else "Overridden"
    finding = FINDINGS[Finding(reading.finding or "")]
    flash(f"{decision}: {finding} in {visible(reading.image.original_name)}.", "reading")
    return _redirect(next_id, queue_view)


@pages.post("/review/undo")
def undo() -> ResponseReturnValue:
    """Undo the reader's last reading and open its image."""
    queue_view = queue_view_parameter()
    try:
        image_id = actions.undo()
    except ReviewRefused as refusal:
        flash(str(refusal), "problem")
        return _redirect(None, queue_view)
    flash("Undone: this image is unread again.", "undone")
    return _redirect(image_id, queue_view)


def _redirect(image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    if image_id is None:
        return redirect(url_for("queue.show", **queue_view.below(None).query), 303)
    return redirect(url_for("viewer.show", image_id=image_id, **queue_view.query), 303)


def _claim(image_id: int) -> None:
    """Claim the image for the reader. Do nothing without a name, for a prefetch or for a HEAD request."""
    prefetched = "prefetch" in request.headers.get("Sec-Purpose", "")
    if reader_name() is None or request.method != "GET" or prefetched:
        return
    claim_s = dependencies().settings.claim_s
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        review.claim(session, image_id, reader_id=acting_reader(session, at).id, claim_s=claim_s, at=at)


def _other_reader(image: Image, at: datetime) -> str | None:
    """Return the name of another reader whose claim on the image has not expired."""
    holder = image.claimed_by
    is_claimed = image.claimed_until is not None and image.claimed_until > at
    return holder.name if holder and is_claimed and holder.name != reader_name() else None
