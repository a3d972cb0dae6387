"""Runs: what each night did, and whether its books balance."""

from __future__ import annotations

from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue

from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.ledger import reports

pages = Blueprint("runs", __name__)

_PAGE_SIZE = 20
_TURNED_AWAY_SHOWN = 100


@pages.get("/runs")
def listing() -> ResponseReturnValue:
    """The runs, the latest first."""
    with dependencies().ledger.reading() as session:
        found = reports.runs(session, before=before_parameter(), size=_PAGE_SIZE)
        older = found[-1][0].id if len(found) == _PAGE_SIZE else None
        return render_template("runs.html", runs=[summary for _, summary in found], older=older)


@pages.get("/runs/<path:name>")
def show(name: str) -> ResponseReturnValue:
    """One run."""
    with dependencies().ledger.reading() as session:
        run = reports.find_run(session, name)
        if run is None:
            abort(404, "There is no run of this name.")
        return render_template(
            "run.html",
            run=reports.summary(session, run),
            turned_away=reports.rejected_images(session, run_id=run.id, size=_TURNED_AWAY_SHOWN),
        )
