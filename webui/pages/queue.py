"""Review: the reading queue, the highest score first."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record_search
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.parameters import queue_view_parameter
from webui.queue_view import READING, VERDICTS
from worker.ledger import reading_queue, reports
from worker.ledger.session import ledger_time

pages = Blueprint("queue", __name__)


@pages.get("/review")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """Show a page of the queue."""
    queue_view = queue_view_parameter()
    record_search(queue_view)
    with dependencies().ledger.reading() as session:
        return render_template(
            "queue.html",
            queue_view=queue_view,
            page=reading_queue.queue(session, queue_view.filter, after=queue_view.after),
            runs=reports.run_names(session),
            undoable=actions.undoable(session),
            now=ledger_time(session),
            verdicts=VERDICTS,
            readings=READING,
        )
