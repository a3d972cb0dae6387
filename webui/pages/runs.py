"""Runs: the file count, the figures and the reports of each night or import."""

from __future__ import annotations

from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue

from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports

pages = Blueprint("runs", __name__)

_PAGE_SIZE = 20
_MAX_REJECTED = 100


@pages.get("/runs")
def listing() -> ResponseReturnValue:
    """List the runs, the latest first."""
    with dependencies().ledger.reading() as session:
        page = reports.runs(session, before=before_parameter(), size=_PAGE_SIZE)
        older = page[-1][0].id if len(page) == _PAGE_SIZE else None
        return render_template("runs.html", runs=[summary for _, summary in page], older=older)


@pages.get("/runs/<path:name>")
def show(name: str) -> ResponseReturnValue:
    """Show one run."""
    with dependencies().ledger.reading() as session:
        run = reports.find_run(session, name)
        if run is None:
            abort(404, "There is no run with this name.")
        return render_template(
            "run.html",
            run=reports.summary(session, run),
            rejected=reports.rejected_images(session, run_id=run.id, size=_MAX_REJECTED),
        )
