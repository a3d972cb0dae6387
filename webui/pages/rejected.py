"""Rejected: the images without a score, with their reasons; each can be read without a score, and retried where that may help."""

from __future__ import annotations

import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.ids import ids_of, ids_text
from webui.parameters import bad_request_on_value_error, before_parameter
from worker.ledger import leases, reports, review
from worker.ledger.accesses import AccessKind

pages = Blueprint("rejected", __name__)

_PAGE_SIZE = 50


@pages.get("/rejected")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """List the images, the latest first; with `reason` in the URL, those that have this reason."""
    with bad_request_on_value_error():
        reason = _reason_parameter(request.args.get("reason", ""))
    record(AccessKind.SEARCH, "rejected")
    with dependencies().ledger.reading() as session:
        images = reports.rejected_images(
            session, reason_code=reason, before=before_parameter(), size=_PAGE_SIZE
        )
        worth_a_retry = [i.id for i in images if not i.bytes_removed_at and leases.retry_may_help(i)]
        return render_template(
            "rejected.html",
            images=images,
            older=images[-1].id if len(images) == _PAGE_SIZE else None,
            reason=reason,
            reasons=reports.latest_reasons(session),
            shown=ids_text(worth_a_retry),
            retried_together=len(worth_a_retry),
            readable={image.id for image in images if review.is_readable(image)},
            standing=review.standing_reviews(session, images),
            undoable=actions.undoable(session),
        )


@pages.post("/rejected/<id:image_id>/retry")
@needs(Permission.RETRY)
def retry(image_id: int) -> ResponseReturnValue:
    """Make an image pending again."""
    queued = actions.retry(image_id, request.form.get("reason", ""))
    flash("The image is pending again." if queued else actions.BROKER_UNREACHABLE)
    return redirect(url_for("rejected.show"), 303)


@pages.post("/rejected/retry")
@needs(Permission.RETRY)
def retry_all() -> ResponseReturnValue:
    """Make the images of a page of the list pending again: those that the person saw, and no others."""
    with bad_request_on_value_error():
        image_ids = ids_of(request.form.get("images", ""), _PAGE_SIZE)
        code = _reason_parameter(request.form.get("code", ""))
    retried, queued = actions.retry_all(image_ids, request.form.get("reason", ""))
    flash(f"{retried} of {len(image_ids)} images are pending again.")
    if not queued:
        flash(actions.BROKER_UNREACHABLE)
    return redirect(url_for("rejected.show", reason=code), 303)


def _reason_parameter(text: str) -> str | None:
    """Return a reason code of an address; None for none. It is no text that a person typed."""
    if text and not re.fullmatch("[a-z0-9_]{1,40}", text):
        raise ValueError("`reason` must be the code of a reason")
    return text or None
