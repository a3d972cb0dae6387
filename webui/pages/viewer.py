"""The viewer: one image, its prediction, and the reader's decision."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access import identity
from webui.access.on_record import is_prefetch, record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import finding, visible
from webui.ids import id_of
from webui.parameters import bad_request_on_value_error, form_flag, queue_view_parameter
from webui.queue_view import QueueView, cursor_of
from worker.ledger import reading_queue, review, users
from worker.ledger.accesses import AccessKind
from worker.ledger.findings import Seen, Statement
from worker.ledger.reading_queue import Neighbours
from worker.ledger.related_images import COMPLETE_AFTER, related_images
from worker.ledger.review import ReviewRefused
from worker.ledger.session import ledger_time
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import Image, Review

pages = Blueprint("viewer", __name__)


@pages.get("/review/<id:image_id>")
@needs(Permission.IMAGES)
def show(image_id: int) -> ResponseReturnValue:
    """Show an image. This claims nothing: the page itself asks for the claim (`static/claim.js`).

    A prefetch gets nothing (204), so that the browser asks when the page is opened: then the view is recorded.
    """
    if is_prefetch():
        return "", 204
    queue_view = queue_view_parameter()
    with dependencies().ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        scored, standing = image.state == ImageState.SCORED, review.standing_reviews(session, [image])
        page = render_template(
            "viewer.html",
            image=image,
            prediction=image.prediction,
            related=related_images(session, image, ledger_time(session)),
            complete_after_min=round(COMPLETE_AFTER.total_seconds() / 60),
            readable=review.is_readable(image),
            standing=standing.get(image_id),
            taken_back=_taken_back(image),
            undoable=actions.undoable(session),
            names=users.names_of(session, [receipt.received_by for receipt in image.receipts]),
            holder=_other_reader(image, ledger_time(session)),
            queue_view=queue_view,
            unread_count=reading_queue.count(session, queue_view.unread),
            # An image without a score is in no list.
            neighbours=reading_queue.neighbours(session, queue_view.filter, cursor_of(image))
            if scored
            else Neighbours(None, None),
        )
    record(AccessKind.VIEW, "page", image_id=image_id)
    return page


@pages.post("/review/<id:image_id>/claim")
@needs(Permission.READ)
def claim(image_id: int) -> ResponseReturnValue:
    """Claim an image that is on the reader's screen; answer with a sentence if another reader was faster."""
    if actions.claim(image_id):
        return "", 204
    with dependencies().ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        sentence = _why_not(image, ledger_time(session))
    return Response(sentence, mimetype="text/plain") if sentence else ("", 204)


@pages.post("/review/<id:image_id>/decide")
@needs(Permission.READ)
def decide(image_id: int) -> ResponseReturnValue:
    """Record a reading, claim the next image of the reader's list and open it; or change the reader's own reading.

    The field `amends` names the reading that is changed. Its image stays open. After the last image, the summary follows.
    """
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        said, seen, amends = _said(), _seen(), id_of(request.form.get("amends"))
    try:
        if amends is not None:
            changed = actions.amend(image_id, amends, said, seen, request.form.get("why", ""))
            flash(f"Changed: {_named(changed)}.", "reading")
            return _open(image_id, queue_view)
        reading, next_id = actions.decide(image_id, said, seen, queue_view)
    except ReviewRefused as refusal:
        flash(str(refusal), "problem")
        return _redirect(image_id, queue_view)
    flash(f"Recorded: {_named(reading)}.", "reading")
    if reading.prediction_id is None:
        return redirect(url_for("rejected.show"), 303)
    if next_id is None:
        return redirect(url_for("summary.show", **queue_view.below(None).query), 303)
    return _open(next_id, queue_view)


@pages.post("/review/undo")
@needs(Permission.READ)
def undo() -> ResponseReturnValue:
    """Take back the reading that the form names, or the reader's last one, and open its image."""
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        review_id, seen = id_of(request.form.get("review")), _seen()
    try:
        undone = actions.undo(review_id, seen)
    except ReviewRefused as refusal:
        flash(str(refusal), "problem")
        return _redirect(None, queue_view)
    now = "The reading before it is in force again" if undone.supersedes_id else "The image is unread again"
    flash(f"Taken back: {_named(undone)}. {now}.", "undone")
    return _open(undone.image_id, queue_view)


def _said() -> Statement:
    """Return what the reader says about the image. A button sends the finding and its reason as one value."""
    chosen, _, reason = request.form.get("finding", "").partition("/")
    return actions.statement(
        chosen, reason, request.form.get("note", ""), request.form.get("other_finding", "")
    )


def _seen() -> Seen:
    """Return what the reader had in front of them. Without JavaScript, nobody knows how long, or whether ever."""
    return Seen(
        prediction_id=id_of(request.form.get("prediction")),
        score_shown=form_flag("score_shown"),
        map_shown=form_flag("map_shown"),
        open_ms=id_of(request.form.get("open_ms")),
    )


def _named(reading: Review) -> str:
    return f"{finding(reading)}, {visible(reading.image.original_name)}"


def _taken_back(image: Image) -> Review | None:
    """Return the reading that the reader has just taken back, so that its words need not be typed again."""
    last = image.reviews[-1] if image.reviews else None
    if last is None or last.undoes_id is None or last.user_id != identity.current().user_id:
        return None
    return next(reading for reading in image.reviews if reading.id == last.undoes_id)


def _redirect(image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    if image_id is None:
        return redirect(url_for("queue.show", **queue_view.below(None).query), 303)
    return redirect(url_for("viewer.show", image_id=image_id, **queue_view.query), 303)


def _open(image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    """Claim an image and send the reader to it: without JavaScript, no page asks for the claim."""
    if image_id is not None:
        actions.claim(image_id)
    return _redirect(image_id, queue_view)


def _why_not(image: Image, at: datetime) -> str | None:
    """Return why the reader cannot read an image that is open on their screen; None if nobody was faster."""
    holder = _other_reader(image, at)
    if holder is not None:
        return f"{visible(holder)} has claimed this image until {image.claimed_until:%Y-%m-%d %H:%M:%S} UTC."
    return "This image has already been read." if image.review_state == ReviewState.READ else None


def _other_reader(image: Image, at: datetime) -> str | None:
    """Return the name of another reader whose claim on the image has not expired."""
    holder = image.claimed_by
    is_claimed = image.claimed_until is not None and image.claimed_until > at
    return holder.name if holder and is_claimed and holder.id != identity.current().user_id else None
