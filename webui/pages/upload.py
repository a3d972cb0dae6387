"""Upload: files go in, and each one's verdict appears as it arrives."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.actions import LATER
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.queue_view import keys_of, keys_text
from webui.readers import required_reader_name
from webui.uploads import receive
from worker.ledger import reports

pages = Blueprint("upload", __name__)

_MOST_RECEIPTS = 500


@pages.get("/upload")
def show() -> ResponseReturnValue:
    """The form, and below it what became of the files whose receipts the URL names."""
    return _with_receipts("upload.html")


@pages.get("/upload/rows")
def rows() -> ResponseReturnValue:
    """Those files' rows alone, for the page that waits for their verdicts."""
    return _with_receipts("upload_rows.html")


@pages.post("/upload")
def send() -> ResponseReturnValue:
    """Take files in, as a browser without JavaScript sends them."""
    reader = required_reader_name()
    with bad_request_on_value_error():
        received = receive(request, reader=reader)
    if not received.queued:
        flash(LATER)
    if received.missed:
        flash(f"{len(received.missed)} of the files could not be read and were not taken. Send them again.")
    if not received.accepted and not received.missed:
        flash("No file was chosen.")
    keys = keys_text([item.receipt_id for item in received.accepted])
    return redirect(url_for("upload.show", receipts=keys or None), 303)


def _with_receipts(template: str) -> ResponseReturnValue:
    with bad_request_on_value_error():
        keys = keys_of(request.args.get("receipts", ""), _MOST_RECEIPTS)
    with dependencies().ledger.reading() as session:
        return render_template(template, receipts=reports.receipts(session, keys))
