"""API tokens: a person's own on *Account*, and the tokens of all people for administrators."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.parameters import before_parameter
from worker.ledger import tokens
from worker.ledger.roles import Scope, scopes_in, scopes_of
from worker.ledger.session import ledger_time
from worker.ledger.tokens import NewToken

pages = Blueprint("tokens", __name__)

_PAGE_SIZE = 50
# What each scope allows, in the words of docs/api.md.
_SCOPE_WORDS = {
    Scope.IMAGES_READ: "list and see images, models and the queue",
    Scope.IMAGES_WRITE: "upload images",
    Scope.RETRY: "retry rejected and quarantined images",
    Scope.ORIGINALS_READ: "download originals",
    Scope.REPORTS_READ: "get runs and reports",
    Scope.AUDIT_READ: "read the audit trail",
    Scope.METRICS: "read status, problems and metrics",
}
_STATE_WORDS = {
    tokens.TokenState.VALID: "valid",
    tokens.TokenState.EXPIRED: "expired",
    tokens.TokenState.REVOKED: "revoked",
    tokens.TokenState.OWNER_DISABLED: "owner disabled",
}


@pages.get("/account/tokens")
@needs(Permission.SIGNED_IN)
def own() -> ResponseReturnValue:
    """Show the person's own tokens, and the form for a new one."""
    return _page(owner_id=_owner_id())


@pages.post("/account/tokens")
@needs(Permission.SIGNED_IN)
def add() -> ResponseReturnValue:
    """Make a token and show its key, once: it stands in this answer only, which no cache keeps."""
    if identity.current().lacks_second_factor:
        abort(403, "Your role needs a second factor. Set one up on the page Account first.")
    try:
        with dependencies().ledger.transaction() as session:
            new = tokens.add(
                session,
                owner_id=_owner_id(),
                name=request.form.get("name", "").replace("\x00", ""),
                scopes=_scopes(),
                days=_days(),
                actor=identity.current().actor,
                at=ledger_time(session),
            )
    except ValueError as error:
        return _page(owner_id=_owner_id(), problem=as_sentence(error)), 400
    return _page(owner_id=_owner_id(), new=new)


@pages.post("/account/tokens/<id:token_id>/revoke")
@needs(Permission.SIGNED_IN)
def revoke_own(token_id: int) -> ResponseReturnValue:
    """End one of the person's own tokens."""
    _revoke(token_id, _owner_id())
    return redirect(url_for("tokens.own"), 303)


@pages.get("/tokens")
@needs(Permission.MANAGE)
def every() -> ResponseReturnValue:
    """Show the tokens of all people."""
    return _page(owner_id=None)


@pages.post("/tokens/<id:token_id>/revoke")
@needs(Permission.MANAGE)
def revoke(token_id: int) -> ResponseReturnValue:
    """End a token of anybody."""
    _revoke(token_id, None)
    return redirect(url_for("tokens.every"), 303)


def _owner_id() -> int:
    user_id = identity.current().user_id
    if user_id is None:
        abort(404)
    return user_id


def _page(*, owner_id: int | None, new: NewToken | None = None, problem: str | None = None) -> str:
    with dependencies().ledger.reading() as session:
        at = ledger_time(session)
        found = tokens.listed(session, owner_id=owner_id, before=before_parameter(), limit=_PAGE_SIZE)
    allowed = scopes_of(identity.current().roles)
    return render_template(
        "tokens.html",
        rows=[(token, scopes_in(token.scopes), tokens.state_of(token, at)) for token in found],
        older=found[-1].id if len(found) == _PAGE_SIZE else None,
        everybody=owner_id is None,
        choices={scope: _SCOPE_WORDS[scope] for scope in Scope if scope in allowed},
        states=_STATE_WORDS,
        new=new,
        problem=problem,
        default_days=tokens.DEFAULT_DAYS,
        longest_days=tokens.LONGEST_DAYS,
    )


def _revoke(token_id: int, owner_id: int | None) -> None:
    actor = identity.current().actor
    try:
        with dependencies().ledger.transaction() as session:
            tokens.revoke(session, token_id, actor=actor, at=ledger_time(session), owner_id=owner_id)
    except LookupError:
        abort(404, "There is no such token.")


def _scopes() -> frozenset[Scope]:
    """Return the scopes of the form. Raises ValueError for an unknown one."""
    try:
        return frozenset(map(Scope, request.form.getlist("scope")))
    except ValueError:
        raise ValueError("there is no such scope") from None


def _days() -> int:
    """Return the days of the form. Raises ValueError if it is no whole number."""
    try:
        return int(request.form.get("days", ""))
    except ValueError:
        raise ValueError("the number of days must be a whole number") from None
