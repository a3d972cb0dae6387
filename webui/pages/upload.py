"""Upload: a form for files, and the result of each uploaded file."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.on_record import record_uploads
from webui.access.permissions import Permission, needs
from webui.actions import BROKER_UNREACHABLE
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.ids import ids_of, ids_text
from webui.parameters import bad_request_on_value_error
from webui.uploads import MAX_FILES, accept_upload
from worker.ledger import reports

pages = Blueprint("upload", __name__)


@pages.get("/upload")
@needs(Permission.UPLOAD)
def show() -> ResponseReturnValue:
    """Show the form, and below it the results of the files whose receipts the URL names."""
    return _with_receipts("upload.html")


@pages.get("/upload/rows")
@needs(Permission.UPLOAD)
def rows() -> ResponseReturnValue:
    """Send only the rows of these files, for a page that waits for their results."""
    return _with_receipts("upload_rows.html")


@pages.post("/upload")
@needs(Permission.UPLOAD)
def send() -> ResponseReturnValue:
    """Accept files from the form of a browser without JavaScript."""
    with bad_request_on_value_error():
        result = accept_upload(request)
    if not result.queued:
        flash(BROKER_UNREACHABLE)
    if result.missed:
        flash(f"{len(result.missed)} files could not be read and were not accepted. Upload them again.")
    if not result.accepted and not result.missed:
        flash("No file was selected.")
    receipt_ids = ids_text([item.receipt_id for item in result.accepted])
    return redirect(url_for("upload.show", receipts=receipt_ids or None), 303)


def _with_receipts(template: str) -> ResponseReturnValue:
    with bad_request_on_value_error():
        receipt_ids = ids_of(request.args.get("receipts", ""), MAX_FILES)
    # A token that may only upload sees no images.
    shown = receipt_ids if identity.current().may(Permission.IMAGES) else []
    if shown:
        record_uploads(ids_text(shown))
    with dependencies().ledger.reading() as session:
        receipts = reports.receipts(session, shown)
        hidden = blinding(session, [receipt.image for receipt in receipts])
        return render_template(template, receipts=receipts, hidden=hidden)
