"""Audit: what happened and who saw what, for auditors: a filter, the story of an image, exports."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.ids import id_of
from webui.parameters import bad_request_on_value_error
from worker.ledger import audit, trail, users
from worker.ledger.accesses import AccessKind
from worker.ledger.actors import ANONYMOUS, PROGRAM, user
from worker.ledger.audit_codes import MEANINGS, meaning
from worker.ledger.trail import TrailCursor, TrailFilter
from worker.trail_export.formats import FORMATS

pages = Blueprint("audit", __name__)

_FILTERS = ("actor", "image", "kind", "since", "until")
_MAX_WORD = 200


@pages.get("/audit")
@needs(Permission.AUDIT)
def show() -> ResponseReturnValue:
    """Show a page of the audit trail and of the record of accesses, the latest first."""
    with bad_request_on_value_error():
        wanted = _wanted()
        below = TrailCursor.parse(request.args["below"]) if request.args.get("below") else None
    record(AccessKind.TRAIL, "page", image_id=wanted.image_id)
    with dependencies().ledger.reading() as session:
        page = trail.page(session, wanted, below)
        last = trail.last_verification(session)
        actors = [entry.actor for entry in page.entries]
        return render_template(
            "audit.html",
            page=page,
            names=users.names_of(session, [*actors, *((last.actor, last.asked_by) if last else ())]),
            people=[(user(person.id), person.name) for person in users.everybody(session)],
            programs=(PROGRAM, ANONYMOUS),
            kinds=sorted(MEANINGS, key=lambda kind: MEANINGS[kind].words),
            meaning=meaning,
            last=last,
            verification=dependencies().verification,
            wanted={name: request.args.get(name, "") for name in _FILTERS},
            formats=FORMATS,
        )


@pages.post("/audit/verify")
@needs(Permission.AUDIT)
def verify() -> ResponseReturnValue:
    """Start a verification of the audit trail. Its result appears on the page, and is on record."""
    if not dependencies().verification.start(_record_start):
        flash("A verification is already running.")
    return redirect(url_for("audit.show"), 303)


def _record_start() -> int:
    """Record that a verification begins, and return the number of the event."""
    event = audit.Event("trail_verification_started", identity.current().actor, "trail", {})
    with dependencies().ledger.transaction() as session:
        audit.append(session, [event])
        return audit.lock(session).seq


@pages.get("/audit/export")
@needs(Permission.AUDIT)
def export() -> ResponseReturnValue:
    """Send everything that the filter lets through as a file, piece by piece."""
    name = request.args.get("format", "csv")
    if name not in FORMATS:
        abort(400, f"`format` must be one of {', '.join(FORMATS)}")
    with bad_request_on_value_error():
        wanted = _wanted()
    record(AccessKind.TRAIL, f"export:{name}", image_id=wanted.image_id)
    entries = trail.entries(dependencies().ledger, wanted)
    response = Response(FORMATS[name].write(entries), content_type=FORMATS[name].content_type)
    response.headers.set(
        "Content-Disposition", "attachment", filename=f"nightread-audit.{FORMATS[name].ending}"
    )
    return response


def _wanted() -> TrailFilter:
    """Read the filter of the URL. Raises ValueError."""
    since, until = (_day(name) for name in ("since", "until"))
    return trail.days_filter(_word("actor"), id_of(request.args.get("image")), _word("kind"), since, until)


def _word(name: str) -> str | None:
    word = request.args.get(name) or None
    if word is not None and not (word.isascii() and word.isprintable() and len(word) <= _MAX_WORD):
        raise ValueError(f"`{name}` must be a short word")
    return word


def _day(name: str) -> datetime | None:
    text = request.args.get(name)
    if not text:
        return None
    try:
        # A day in UTC: `days_filter` adds the time zone.
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007
    except ValueError:
        raise ValueError(f"`{name}` must be a day, for example 2026-11-25") from None
