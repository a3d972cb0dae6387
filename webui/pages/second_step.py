"""The second step of signing in: a code of the authenticator app, a recovery code, or a passkey."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import passkeys, second_step
from webui.access.passphrase_sign_in import NotSignedIn
from webui.access.permissions import Permission, needs
from webui.access.sign_in import signed_in, start_session
from webui.dependencies import dependencies
from webui.parameters import local_path
from worker.ledger import second_factors
from worker.ledger.session import ledger_time

pages = Blueprint("second_step", __name__)


@pages.get("/sign-in/second-step")
@needs(Permission.EVERYONE)
def show() -> ResponseReturnValue:
    """Ask whoever has done the first step for a second factor."""
    with dependencies().ledger.reading() as session:
        user = second_step.person(session)
    return _page(user.id, local_path(request.args.get("next", ""))) if user is not None else _again()


@pages.post("/sign-in/second-step")
@needs(Permission.EVERYONE)
def check() -> ResponseReturnValue:
    """Sign in with a code."""
    target = local_path(request.form.get("next", ""))
    with dependencies().ledger.reading() as session:
        user = second_step.person(session)
    if user is None:
        return _again()
    try:
        method = second_step.check_code(user.id, request.form.get("code", ""))
    except NotSignedIn as refusal:
        return _page(user.id, target, refusal.sentence), refusal.status, refusal.headers
    with dependencies().ledger.transaction() as session:
        person = second_step.person(session)
        if person is None:
            return _again()
        key = start_session(session, person, method, ledger_time(session))
    return second_step.end(signed_in(target, user.id, key))


def _page(user_id: int, target: str, problem: str | None = None) -> str:
    with dependencies().ledger.reading() as session:
        app = second_factors.totp_of(session, user_id)
        has_passkeys = bool(second_factors.passkeys_of(session, user_id))
    return render_template(
        "second_step.html",
        target=target,
        problem=problem,
        app=app,
        has_passkeys=has_passkeys,
        passkeys_are_possible=passkeys.are_possible(),
    )


def _again() -> ResponseReturnValue:
    return redirect(url_for("sign_in.show"), 303)
