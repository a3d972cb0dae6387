"""The page where readers enter or change their name."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.readers import local_path, remember
from worker.ledger import review
from worker.ledger.session import ledger_time

pages = Blueprint("reader", __name__)


@pages.get("/reader")
def ask() -> ResponseReturnValue:
    """Show the form."""
    return render_template("reader.html", target=local_path(request.args.get("next", "")))


@pages.post("/reader")
def answer() -> ResponseReturnValue:
    """Store the name in the ledger and in the cookie, and return to the page that asked for it."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        remember(
            review.reader(
                session, request.form.get("name", "").replace("\x00", ""), ledger_time(session)
            ).name
        )
    return redirect(local_path(request.form.get("next", "")), 303)
