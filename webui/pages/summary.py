"""Summary: what a reader read in their sitting, how that compares with the model, and what remains."""

from __future__ import annotations

from statistics import median

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access import identity
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import FINDINGS
from webui.parameters import queue_view_parameter
from worker.ledger import sitting as sittings
from worker.ledger.accesses import AccessKind
from worker.ledger.session import ledger_time

pages = Blueprint("summary", __name__)


@pages.get("/review/summary")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """Show the reader's latest sitting. The query is the list that the reader comes from."""
    queue_view = queue_view_parameter()
    reader_id = identity.current().user_id
    with dependencies().ledger.reading() as session:
        sitting = None if reader_id is None else sittings.latest_sitting(session, reader_id)
        page = render_template(
            "summary.html",
            queue_view=queue_view,
            sitting=sitting,
            longest=sittings.LONGEST,
            median_s=median(sitting.open_ms) / 1_000 if sitting and sitting.open_ms else None,
            findings=FINDINGS,
            runs=sittings.names_of_runs(session, sitting.runs if sitting else []),
            remaining=sittings.remaining(session, reader_id, ledger_time(session)),
            undoable=actions.undoable(session),
        )
    record(AccessKind.SEARCH, "summary")
    return page
