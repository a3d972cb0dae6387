"""The viewer: one image, what the model said of it, and the reader's last word."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.dependencies import dependencies
from webui.formatting import FINDINGS, visible
from webui.parameters import queue_view_parameter
from webui.queue_view import QueueView, cursor_of
from webui.readers import acting_reader, reader_name
from worker.ledger import review
from worker.ledger.review import Action, Finding, ReviewRefused
from worker.ledger.session import utc_now
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

pages = Blueprint("viewer", __name__)


@pages.get("/review/<key:image_id>")
def show(image_id: int) -> ResponseReturnValue:
    """Open an image; it is the reader's own for a while, if they have said who they are."""
    queue_view = queue_view_parameter()
    _claim(image_id)
    with dependencies().ledger.reading() as session:
        image = review.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        return render_template(
            "viewer.html",
            image=image,
            prediction=image.predictions[0] if image.predictions else None,
            standing=review.standing_reviews(session, [image]).get(image_id),
            holder=_other_holder(image),
            unread=image.review_state == ReviewState.UNREAD,
            queue_view=queue_view,
            left=review.count(session, queue_view.unread),
            neighbours=review.neighbours(session, queue_view.wanted, cursor_of(image)),
        )


@pages.post("/review/<key:image_id>/decide")
def decide(image_id: int) -> ResponseReturnValue:
    """Record the reader's verdict and open the next image of their list."""
    queue_view = queue_view_parameter()
    try:
        act, following = actions.decide(
            image_id, request.form.get("action", ""), request.form.get("note", ""), queue_view
        )
    except ReviewRefused as refusal:
        flash(str(refusal), "refused")
        return _to(image_id, queue_view)
    done = "Confirmed" if act.action == Action.CONFIRM else "Overridden"
    found = FINDINGS[Finding(act.finding or "")]
    flash(f"{done}: {found} in {visible(act.image.original_name)}.", "act")
    return _to(following, queue_view)


@pages.post("/review/undo")
def undo() -> ResponseReturnValue:
    """Take back the reader's last verdict and open its image again."""
    queue_view = queue_view_parameter()
    try:
        image_id = actions.undo()
    except ReviewRefused as refusal:
        flash(str(refusal), "refused")
        return _to(None, queue_view)
    flash("Taken back: this image is unread again.", "undone")
    return _to(image_id, queue_view)


def _to(image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    if image_id is None:
        return redirect(url_for("queue.show", **queue_view.below(None).query), 303)
    return redirect(url_for("viewer.show", image_id=image_id, **queue_view.query), 303)


def _claim(image_id: int) -> None:
    """Claim for a reader who opens the page; not for one who only looks, nor for a prefetch."""
    prefetched = "prefetch" in request.headers.get("Sec-Purpose", "")
    if reader_name() is None or request.method != "GET" or prefetched:
        return
    at, claim_s = utc_now(), dependencies().settings.claim_s
    with dependencies().ledger.transaction() as session:
        review.claim(session, image_id, reader_id=acting_reader(session, at).id, claim_s=claim_s, at=at)


def _other_holder(image: Image) -> str | None:
    """The name of another reader who has this unread image open now."""
    holder = image.claimed_by
    still = image.claimed_until is not None and image.claimed_until > utc_now()
    return holder.name if holder and still and holder.name != reader_name() else None
