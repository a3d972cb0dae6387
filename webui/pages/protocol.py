"""The reading protocol of the site: everybody who reads sees it, and an administrator changes it, with a reason."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from worker.ledger import protocols, queue_news, users
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.session import ledger_time

pages = Blueprint("protocol", __name__)

_CHANGES = 50


@pages.get("/protocol")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the protocol in force, its changes, and how many images wait for another reader."""
    with dependencies().ledger.reading() as session:
        changes = protocols.history(session, limit=_CHANGES)
        return render_template(
            "protocol.html",
            protocol=protocols.in_force(session).protocol,
            changes=changes,
            names=users.names_of(session, [row.set_by for row, _ in changes]),
            others=queue_news.waiting_for_others(session),
        )


@pages.post("/protocol")
@needs(Permission.MANAGE)
def change() -> ResponseReturnValue:
    """Put another protocol in force."""
    who = identity.current().actor
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        why = cleaned_text(request.form.get("why", ""), MAX_REASON)
        protocols.change(session, _protocol(), who=who, why=why, at=ledger_time(session))
    flash("The reading protocol was changed. It holds for every reading from now on.")
    return redirect(url_for("protocol.show"), 303)


def _protocol() -> Protocol:
    """Return the protocol of the form. Raises ValueError, with a sentence, for a value that cannot work."""
    try:
        readers, share = int(request.form.get("readers", "")), float(request.form.get("sample_per_cent", ""))
    except ValueError:
        raise ValueError("the number of readers and the share of clear images must be numbers") from None
    # The share of a form has a few digits: 0.07 must not become 0.07000000000000001.
    return Protocol(
        Shown(request.form.get("score", "")),
        Shown(request.form.get("activation_map", "")),
        readers,
        round(share / 100, 6),
    )
