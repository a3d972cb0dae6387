"""Runs: the file count, the figures and the reports of each night or import."""

from __future__ import annotations

from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue

from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports
from worker.ledger.accesses import AccessKind
from worker.ledger.runs import run_at

pages = Blueprint("runs", __name__)

_PAGE_SIZE = 20
_MAX_REJECTED = 100


@pages.get("/runs")
@needs(Permission.IMAGES)
def listing() -> ResponseReturnValue:
    """List the runs, the latest first."""
    with dependencies().ledger.reading() as session:
        page = reports.runs(session, before=before_parameter(), size=_PAGE_SIZE)
        older = page[-1][0].id if len(page) == _PAGE_SIZE else None
        return render_template("runs.html", runs=[summary for _, summary in page], older=older)


@pages.get("/runs/<run:run>")
@needs(Permission.IMAGES)
def show(run: str) -> ResponseReturnValue:
    """Show one run."""
    with dependencies().ledger.reading() as session:
        found = run_at(session, run)
        if found is None:
            abort(404, f"There is no run {run}.")
        page = render_template(
            "run.html",
            run=reports.summary(session, found),
            rejected=reports.rejected_images(session, run_id=found.id, size=_MAX_REJECTED),
        )
    record(AccessKind.SEARCH, "run", run_id=found.id)
    return page
