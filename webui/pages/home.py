"""Home: what needs doing now, for the roles of the person who looks."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from worker.ledger import queue_news, reports

pages = Blueprint("home", __name__)


@pages.get("/")
@needs(Permission.SIGNED_IN)
def show() -> ResponseReturnValue:
    """Show images to read and images without a score, the night's run, troubles and processes."""
    return _page("home.html")


@pages.get("/now")
@needs(Permission.SIGNED_IN)
def now() -> ResponseReturnValue:
    """Send only what changes, for a page that is open."""
    return _page("home_now.html")


def _page(template: str) -> ResponseReturnValue:
    """Render from tallies and the status document: the cost does not depend on the number of images."""
    run, others = None, {}
    # The name of a run may name a patient.
    if identity.current().may(Permission.IMAGES):
        with dependencies().ledger.reading() as session:
            latest = reports.find_run(session, None)
            run = reports.summary(session, latest) if latest else None
            others = queue_news.waiting_for_others(session)
    return render_template(template, run=run, others=others)
