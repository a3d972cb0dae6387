"""The viewer: one image, its prediction, and the reader's decision."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui import actions
from webui.access import identity
from webui.access.on_record import is_prefetch, record
from webui.access.permissions import Permission, needs
from webui.actions import Decided
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.formatting import finding, visible
from webui.ids import id_of
from webui.parameters import bad_request_on_value_error, form_flag, is_by_script, queue_view_parameter
from webui.queue_view import QueueView, cursor_of
from worker.ledger import calibrations, reading_queue, review, thresholds, users
from worker.ledger.accesses import AccessKind
from worker.ledger.findings import Seen, Statement
from worker.ledger.reading_queue import Neighbours
from worker.ledger.related_images import COMPLETE_AFTER, related_images
from worker.ledger.review import ReviewRefused
from worker.ledger.session import ledger_time
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Review

pages = Blueprint("viewer", __name__)

# A heartbeat comes three times before a claim ends, and soon enough to say that another reader took it over.
_LONGEST_HEARTBEAT_S = 30.0
_OTHER_READER = ReviewRefused(
    "Nothing was recorded: another person made this reading, before you signed in in this browser."
)


@pages.get("/review/<id:image_id>")
@needs(Permission.IMAGES)
def show(image_id: int) -> ResponseReturnValue:
    """Show an image. This claims nothing: the page itself asks for the claim (`static/claim.js`).

    A prefetch gets nothing (204), so that the browser asks when the page is opened: then the view is recorded.
    """
    if is_prefetch():
        return "", 204
    return _page(image_id, queue_view_parameter())


def _page(image_id: int, queue_view: QueueView) -> str:
    """Return the page of an image, and record the view."""
    with dependencies().ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        scored, standing = image.state == ImageState.SCORED, review.standing_reviews(session, [image])
        related = related_images(session, image, ledger_time(session))
        page = render_template(
            "viewer.html",
            image=image,
            prediction=image.prediction,
            layer=calibrations.in_force(session, image.prediction.model_id) if image.prediction else None,
            related=related,
            age_groups=_has_age_groups(session, image),
            beside=[other for other in related.earlier if _has_picture(other)],
            hidden=blinding(session, [image]),
            why_not=_why_not(session, image),
            complete_after_min=round(COMPLETE_AFTER.total_seconds() / 60),
            readable=review.is_readable(image),
            standing=standing.get(image_id),
            taken_back=_taken_back(image),
            undoable=actions.undoable(session),
            names=users.names_of(session, [receipt.received_by for receipt in image.receipts]),
            holder=_other_reader(image, ledger_time(session)),
            heartbeat_s=min(dependencies().settings.claim_s / 3, _LONGEST_HEARTBEAT_S),
            queue_view=queue_view,
            unread_count=reading_queue.count(session, queue_view.unread),
            # An image without a score is in no list.
            neighbours=reading_queue.neighbours(session, queue_view.filter, cursor_of(image))
            if scored
            else Neighbours(None, None),
            ahead=_ahead(session, image, queue_view),
        )
    record(AccessKind.VIEW, "page", image_id=image_id)
    return page


@pages.post("/review/<id:image_id>/claim")
@needs(Permission.READ)
def claim(image_id: int) -> ResponseReturnValue:
    """Claim an image that is on the reader's screen, or renew the claim. Say until when, or show why not."""
    queue_view = queue_view_parameter()
    until = actions.claim(image_id, renews=bool(form_flag("renews")))
    if until is not None:
        return {"until": until.isoformat(timespec="microseconds")}
    with dependencies().ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        holder = _other_reader(image, ledger_time(session))
        return render_template(
            "viewer_claimed.html",
            image=image,
            why_not=_why_not(session, image),
            holder=holder,
            queue_view=queue_view,
        )


@pages.post("/review/<id:image_id>/release")
@needs(Permission.READ)
def release(image_id: int) -> ResponseReturnValue:
    """End the claim of a page that the reader leaves: the one that ends at the time `until`."""
    with bad_request_on_value_error():
        until = request.form.get("until")
        actions.release(image_id, datetime.fromisoformat(until) if until else None)
    return "", 204


@pages.post("/review/<id:image_id>/take-over")
@needs(Permission.READ)
def take_over(image_id: int) -> ResponseReturnValue:
    """Take the claim over from the reader whom the page named, and open the image."""
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        holder_id = id_of(request.form.get("holder")) or 0
    try:
        holder = actions.take_over(image_id, holder_id)
    except ReviewRefused as refusal:
        return _refused(refusal, image_id, queue_view)
    if holder is not None:
        flash(f"You have taken this image over from {visible(holder)}. This is on record.", "claim")
    return _redirect(image_id, queue_view)


@pages.post("/review/<id:image_id>/decide")
@needs(Permission.READ)
def decide(image_id: int) -> ResponseReturnValue:
    """Record a reading, claim the next image of the reader's list and open it; or change the reader's own reading.

    The field `amends` names the reading that is changed. Its image stays open. After the last image, the summary follows.
    """
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        said, seen, amends = _said(), _seen(), id_of(request.form.get("amends"))
        made_by = id_of(request.form.get("reader"))
    if made_by is not None and made_by != identity.current().user_id:
        return _refused(_OTHER_READER, image_id, queue_view)
    try:
        if amends is not None:
            changed = actions.amend(image_id, amends, said, seen, request.form.get("why", ""))
            return _go_on(f"Changed: {_named(changed)}.", "reading", image_id, queue_view)
        decided = actions.decide(image_id, said, seen, queue_view)
    except ReviewRefused as refusal:
        return _refused(refusal, image_id, queue_view)
    return _after(decided, image_id, queue_view)


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
        return _refused(refusal, None, queue_view)
    now = "The reading before it is in force again" if undone.supersedes_id else "The image is unread again"
    return _go_on(f"Taken back: {_named(undone)}. {now}.", "undone", undone.image_id, queue_view)


def _after(decided: Decided, image_id: int, queue_view: QueueView) -> ResponseReturnValue:
    """Say what was recorded, and open what comes next: the same image, if its score was hidden until now."""
    sentence = f"Recorded: {_named(decided.reading)}."
    if decided.reading.prediction_id is None:
        return _go_on(sentence, "reading", None, queue_view, to=url_for("rejected.show"))
    if decided.reveals:
        sentence += " Now you see the score. You can change your reading, or go on."
        return _go_on(sentence, "reading", image_id, queue_view)
    if decided.next_id is None:
        summary = url_for("summary.show", **queue_view.below(None).query)
        return _go_on(sentence, "reading", None, queue_view, to=summary)
    return _go_on(sentence, "reading", decided.next_id, queue_view)


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


def _address(image_id: int | None, queue_view: QueueView) -> str:
    if image_id is None:
        return url_for("queue.show", **queue_view.below(None).query)
    return url_for("viewer.show", image_id=image_id, **queue_view.query)


def _has_age_groups(session: Session, image: Image) -> bool:
    """Return whether some ages have an operating point of their own, so that the page says which one this is."""
    if image.prediction is None:
        return False
    groups = thresholds.plan(session, image.prediction.model.sha256).groups
    return any(setting.group and not setting.group.is_source for setting in groups)


def _has_picture(image: Image) -> bool:
    """Return whether the second viewport can show an image."""
    return review.is_readable(image) and image.bytes_removed_at is None


def _ahead(session: Session, image: Image, queue_view: QueueView) -> Image | None:
    """Return the image whose picture the page fetches ahead: the one that a decision would open now."""
    who = identity.current()
    if image.state != ImageState.SCORED or not who.may(Permission.READ) or who.user_id is None:
        return None
    at = ledger_time(session)
    next_id = reading_queue.next_unread(
        session, queue_view.unread, after=cursor_of(image), reader_id=who.user_id, at=at
    )
    return None if next_id in {None, image.id} else session.get(Image, next_id)


def _redirect(image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    """Open an image, or the queue."""
    address = _address(image_id, queue_view)
    return _opened(image_id, queue_view, address) if is_by_script() else redirect(address, 303)


def _opened(image_id: int | None, queue_view: QueueView, address: str) -> dict[str, str]:
    """Return what a script opens. It gets the page of an image at once, without another request (`static/in_place.js`)."""
    return {"open": address} if image_id is None else {"open": address, "page": _page(image_id, queue_view)}


def _go_on(
    sentence: str, category: str, image_id: int | None, queue_view: QueueView, to: str | None = None
) -> ResponseReturnValue:
    """Claim an image and send the reader to it, or to another page, which says what was recorded.

    Without JavaScript, no page asks for the claim. A script that sends a reading late may be on another page by now: it
    asks to go on only from the page of the reading (`go_on`). Else nothing is claimed, and the script says what was done.
    """
    address = to or _address(image_id, queue_view)
    if is_by_script() and not form_flag("go_on"):
        return {"open": address, "said": sentence}
    flash(sentence, category)
    if image_id is not None:
        actions.claim(image_id)
    if not is_by_script():
        return redirect(address, 303)
    return {**_opened(image_id, queue_view, address), "said": sentence}


def _refused(refusal: ReviewRefused, image_id: int | None, queue_view: QueueView) -> ResponseReturnValue:
    """Say why nothing was recorded: to a script, which keeps what was typed, or on the page of the image."""
    if is_by_script():
        return {"error": str(refusal), "other_reader": refusal is _OTHER_READER}, 409
    flash(str(refusal), "problem")
    return redirect(_address(image_id, queue_view), 303)


def _why_not(session: Session, image: Image) -> str | None:
    """Return why the person of the request may not read an image; None if it waits for them."""
    who = identity.current()
    return review.why_not(session, image, reader_id=who.user_id, adjudicates=who.may(Permission.ADJUDICATE))


def _other_reader(image: Image, at: datetime) -> str | None:
    """Return the name of another reader whose claim on the image has not expired."""
    holder = image.claimed_by
    is_claimed = image.claimed_until is not None and image.claimed_until > at
    return holder.name if holder and is_claimed and holder.id != identity.current().user_id else None
