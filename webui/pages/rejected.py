"""Rejected: the rejected and quarantined images with their reasons, and a form to retry each."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports
from worker.ledger.accesses import AccessKind

pages = Blueprint("rejected", __name__)

_PAGE_SIZE = 50


@pages.get("/rejected")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """List the images, the latest first."""
    record(AccessKind.SEARCH, "rejected")
    with dependencies().ledger.reading() as session:
        images = reports.rejected_images(session, before=before_parameter(), size=_PAGE_SIZE)
        older = images[-1].id if len(images) == _PAGE_SIZE else None
        return render_template("rejected.html", images=images, older=older)


@pages.post("/rejected/<id:image_id>/retry")
@needs(Permission.RETRY)
def retry(image_id: int) -> ResponseReturnValue:
    """Make an image pending again."""
    queued = actions.retry(image_id, request.form.get("reason", ""))
    flash("The image is pending again." if queued else actions.BROKER_UNREACHABLE)
    return redirect(url_for("rejected.show"), 303)
