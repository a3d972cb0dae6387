"""Review: what waits to be read, the most urgent first."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webui.asking import place_of_request
from webui.place import READING, VERDICTS
from webui.services import services
from worker.ledger import reports, review
from worker.ledger.session import utc_now

pages = Blueprint("queue", __name__)


@pages.get("/")
def home() -> ResponseReturnValue:
    """The queue is where the morning begins."""
    return redirect(url_for("queue.show"))


@pages.get("/review")
def show() -> ResponseReturnValue:
    """A page of the queue."""
    place = place_of_request()
    with services().ledger.reading() as session:
        return render_template(
            "queue.html",
            place=place,
            page=review.queue(session, place.wanted, after=place.after),
            runs=reports.run_names(session),
            now=utc_now(),
            verdicts=VERDICTS,
            readings=READING,
        )
