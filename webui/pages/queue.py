"""Queue: the images to read, in the order and with the filters that the reader chose."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from flask.typing import ResponseReturnValue

from webui import actions
from webui.access.on_record import record, record_search
from webui.access.permissions import Permission, needs
from webui.blinding import blinding
from webui.dependencies import dependencies
from webui.formatting import decimals_beside
from webui.ids import id_of
from webui.parameters import bad_request_on_value_error, queue_view_parameter
from webui.queue_view import FILTERS, READING, VERDICTS, QueueView
from worker.ledger import image_search, queue_news, reading_queue, reports
from worker.ledger.accesses import AccessKind
from worker.ledger.queue_filter import threshold_in_force
from worker.ledger.queue_order import Order
from worker.ledger.session import ledger_time

pages = Blueprint("queue", __name__)

_LONGEST_TEXT = 200


@pages.get("/review")
@needs(Permission.IMAGES)
def show() -> ResponseReturnValue:
    """Show a page of the queue."""
    queue_view = queue_view_parameter()
    record_search(queue_view)
    with dependencies().ledger.reading() as session:
        # Before the list is read: what comes in between counts as new.
        mark = queue_news.mark(session)
        page = reading_queue.queue(
            session, queue_view.filter, after=queue_view.after, before=queue_view.before
        )
        hidden = blinding(session, page.images)
        threshold = threshold_in_force(session) if queue_view.order is Order.CLOSEST else None
        # The number of decimals tells how close a score is, so a hidden one has no say.
        shown = [
            image.p_pneumonia
            for image in page.images
            if image.p_pneumonia is not None and not hidden.hides_score(image)
        ]
        return render_template(
            "queue.html",
            queue_view=queue_view,
            page=page,
            hidden=hidden,
            others=queue_news.waiting_for_others(session, queue_view.run),
            mark=mark,
            threshold=threshold,
            decimals=decimals_beside(shown, [] if threshold is None else [threshold]),
            read_within_s=dependencies().settings.read_within_s,
            without_score=queue_news.without_score(session, queue_view.run),
            runs=reports.run_names(session),
            undoable=actions.undoable(session),
            readers=queue_news.readers(session),
            now=ledger_time(session),
            verdicts=VERDICTS,
            readings=READING,
            filters=FILTERS,
        )


@pages.get("/review/news")
@needs(Permission.IMAGES)
def news() -> ResponseReturnValue:
    """Say how many images came into the list since the page was sent; fill an empty page."""
    queue_view = queue_view_parameter()
    with bad_request_on_value_error():
        since, shown = (id_of(request.args.get(name)) or 0 for name in ("since", "shown"))
    with dependencies().ledger.reading() as session:
        total = queue_news.new_images(session, queue_view.filter, since, shown)
    answer = make_response(render_template("queue_news.html", queue_view=queue_view, total=total))
    if total and request.args.get("empty"):
        answer.headers["HX-Trigger"] = "fill"
    return answer


@pages.post("/review/search")
@needs(Permission.IMAGES)
def search() -> ResponseReturnValue:
    """Show the images with a number, or with a text in their names.

    What is searched for may be a patient's name: it comes in a form, never in an address, and is not on record.
    """
    with bad_request_on_value_error():
        below = id_of(request.form.get("below"))
        text = " ".join(request.form.get("text", "").replace("\x00", "").split())
        if not 0 < len(text) <= _LONGEST_TEXT:
            raise ValueError(f"the text to search for must have 1 to {_LONGEST_TEXT} characters")
    record(AccessKind.SEARCH, "search")
    with dependencies().ledger.reading() as session:
        page = image_search.search(session, text, below=below)
        return render_template(
            "queue_search.html",
            queue_view=QueueView(),
            text=text,
            page=page,
            hidden=blinding(session, page.images),
            now=ledger_time(session),
        )
