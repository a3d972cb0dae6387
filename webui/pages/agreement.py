"""How readers agree with each other, and how many cases the model misses: counts and figures, and no image."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.agreement_query import figures_of_readings
from webui.dependencies import dependencies
from webui.formatting import FINDINGS
from worker.ledger import double_readings, missed_cases, protocols
from worker.report.reading_figures import SMALLEST

pages = Blueprint("agreement", __name__)

# More waiting runs would not help anybody.
_WAITING = 5


@pages.get("/agreement")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the figures with their intervals and what they were counted from."""
    who = identity.current()
    names = who.may(Permission.IMAGES) or who.may(Permission.MANAGE)
    with dependencies().ledger.reading() as session:
        return render_template(
            "agreement.html",
            figures=figures_of_readings(session, names=names),
            protocol=protocols.in_force(session).protocol,
            findings=FINDINGS,
            smallest=SMALLEST,
            among=double_readings.LATEST,
            most_runs=missed_cases.RUNS,
            most_images=missed_cases.IMAGES,
            waiting_shown=_WAITING,
        )
