"""Who reads: the name, asked once and changeable."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.readers import local_path, remember
from worker.ledger import review
from worker.ledger.session import utc_now

pages = Blueprint("reader", __name__)


@pages.get("/reader")
def ask() -> ResponseReturnValue:
    """Ask for a name."""
    return render_template("reader.html", target=local_path(request.args.get("next", "")))


@pages.post("/reader")
def answer() -> ResponseReturnValue:
    """Keep the name, in the ledger and for this browser, and go on where it was asked for."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        remember(review.reader(session, request.form.get("name", "").replace("\x00", ""), utc_now()).name)
    return redirect(local_path(request.form.get("next", "")), 303)
