"""Turned away: what was not scored, why, and a way to try again."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports

pages = Blueprint("rejected", __name__)

_PAGE_SIZE = 50


@pages.get("/rejected")
def show() -> ResponseReturnValue:
    """Rejected and quarantined images, the latest first."""
    with dependencies().ledger.reading() as session:
        images = reports.rejected_images(session, before=before_parameter(), size=_PAGE_SIZE)
        older = images[-1].id if len(images) == _PAGE_SIZE else None
        return render_template("rejected.html", images=images, older=older)


@pages.post("/rejected/<key:image_id>/retry")
def retry(image_id: int) -> ResponseReturnValue:
    """Give an image another chance, as a person asks."""
    queued = actions.try_again(image_id, request.form.get("reason", ""))
    flash("The image waits to be scored again." if queued else actions.LATER, "act")
    return redirect(url_for("rejected.show"), 303)
