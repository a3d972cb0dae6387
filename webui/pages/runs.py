"""Runs: the file count, the figures and the reports of each night or import."""

from __future__ import annotations

from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.parameters import before_parameter
from worker.card.flagged_share import unexpected_share
from worker.card.reading import operating_points, read_card
from worker.ledger import reports, thresholds
from worker.ledger.accesses import AccessKind
from worker.ledger.models import registered_models
from worker.ledger.populations import are_many
from worker.ledger.reports import RunSummary
from worker.ledger.runs import run_at
from worker.report.content import distance_sentence

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
        summary = reports.summary(session, found)
        page = render_template(
            "run.html",
            run=summary,
            unexpected=_unexpected_share(session, summary),
            distance=distance_sentence(summary.file_counts),
            is_far=are_many(summary.file_counts),
            rejected=reports.rejected_images(session, run_id=found.id, size=_MAX_REJECTED),
        )
    record(AccessKind.SEARCH, "run", run_id=found.id)
    return page


def _unexpected_share(session: Session, run: RunSummary) -> str | None:
    """Compare the run with the card of the active model, if that model scored it, with a point of its card."""
    models = registered_models(session)
    used = models[0].operating_point if models else None
    if used is None or run.first_scored_at is None or run.first_scored_at < models[0].model.active_since:
        return None
    if models[0].has_groups or thresholds.changed_since(session, run.first_scored_at):
        # Some verdicts of the run may follow another point than the one in force.
        return None
    counts = run.file_counts
    for point in operating_points(read_card(models[0].model.card)):
        if (point.name, point.band_high) == (used.name, used.band_high):
            return unexpected_share(counts.flagged - counts.uncertain, counts.scored, point)
    return None
