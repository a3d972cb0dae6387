"""Scored again: the images that an upgrade scored again, until a person says that they have seen them."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.ids import ids_of, ids_text
from webui.parameters import after_parameter, bad_request_on_value_error
from worker.ledger import rescores
from worker.ledger.accesses import AccessKind
from worker.ledger.rescores import FINISHED

pages = Blueprint("rescored", __name__)

PAGE_SIZE = 100


@pages.get("/rescored")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """List the images that nobody has seen since they were scored again."""
    record(AccessKind.SEARCH, "rescored")
    with dependencies().ledger.reading() as session:
        rows = rescores.unseen(session, after=after_parameter() or 0, limit=PAGE_SIZE)
        return render_template(
            "rescored.html",
            rows=rows,
            hidden=blinding(session, [row.image for row in rows]),
            total=rescores.unseen_count(session),
            finished=ids_text([row.id for row in rows if row.image.state in FINISHED]),
            next=rows[-1].id if len(rows) == PAGE_SIZE else None,
        )


@pages.post("/rescored/seen")
@needs(Permission.READ)
def seen() -> ResponseReturnValue:
    """Record that the reader has seen the images of the page."""
    with bad_request_on_value_error():
        rescore_ids = ids_of(request.form.get("rescores", ""), PAGE_SIZE)
    count = actions.mark_seen(rescore_ids)
    flash("Recorded: you have seen 1 image." if count == 1 else f"Recorded: you have seen {count} images.")
    return redirect(url_for("rescored.show"), 303)
