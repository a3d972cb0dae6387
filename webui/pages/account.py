"""Account: a person's name, roles, passphrase and sessions."""

from __future__ import annotations

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui import theme
from webui.access import identity, passkeys, passphrase_sign_in
from webui.access.passphrase_sign_in import NotSignedIn
from webui.access.permissions import Permission, needs
from webui.access.sign_in import end_other_sessions
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error, local_path
from worker.ledger import actors, passphrases, second_factors, sign_ins, users
from worker.ledger.session import ledger_time
from worker.ledger.tables import User

pages = Blueprint("account", __name__)

_PASSPHRASES = ("present", "new", "again")


@pages.get("/account")
@needs(Permission.SIGNED_IN)
def show() -> ResponseReturnValue:
    """Show the account, or ask for the name of somebody who has not entered one."""
    return _page()


def _page(problem: str | None = None) -> str:
    who = identity.current()
    limits = dependencies().settings.session_limits
    with dependencies().ledger.reading() as session:
        user = session.get_one(User, who.user_id)
        sessions = sign_ins.of_user(session, user, limits, ledger_time(session))
        app = second_factors.totp_of(session, user.id)
        return render_template(
            "account.html",
            user=user,
            sessions=sessions,
            is_of_service=user.id in users.of_service(session),
            target=local_path(request.args.get("next", "")),
            problem=problem,
            app=app,
            codes_left=second_factors.unused_codes(session, app) if app is not None else 0,
            passkeys=second_factors.passkeys_of(session, user.id),
            passkeys_are_possible=passkeys.are_possible(),
        )


@pages.post("/account/theme")
@needs(Permission.SIGNED_IN)
def set_theme() -> ResponseReturnValue:
    """Let this browser keep the colours that the person chose."""
    response = current_app.make_response(redirect(url_for("account.show"), 303))
    with bad_request_on_value_error():
        theme.choose(response, request.form.get("theme", ""))
    return response


@pages.post("/account/name")
@needs(Permission.SIGNED_IN)
def rename() -> ResponseReturnValue:
    """Record the person's name, and return to the page that asked for it."""
    who = identity.current()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        user = session.get_one(User, who.user_id)
        at = ledger_time(session)
        users.rename(session, user, request.form.get("name", ""), actor=who.actor, at=at)
    return redirect(local_path(request.form.get("next", "")), 303)


@pages.post("/account/passphrase")
@needs(Permission.SIGNED_IN)
def set_passphrase() -> ResponseReturnValue:
    """Set or change the person's passphrase, and end their other sessions."""
    who, form = identity.current(), request.form
    user_id = who.named_user_id
    try:
        change = passphrase_sign_in.checked_change(user_id, *(form.get(name, "") for name in _PASSPHRASES))
    except NotSignedIn as refusal:
        return _page(refusal.sentence), refusal.status, refusal.headers
    with dependencies().ledger.transaction() as session:
        user, at = session.get_one(User, user_id, with_for_update=True), ledger_time(session)
        if user.passphrase_hash != change.earlier_hash:
            abort(409, "Your passphrase was changed at the same time. Nothing was changed here.")
        passphrases.set_hash(session, user, change.new_hash, actor=who.actor, at=at)
        end_other_sessions(session, user, at)
    flash("Your passphrase was set. Your other sessions ended.")
    return redirect(url_for("account.show"), 303)


@pages.post("/account/sessions/<id:session_id>/end")
@needs(Permission.SIGNED_IN)
def end_session(session_id: int) -> ResponseReturnValue:
    """End one of the person's sessions, in this browser or another."""
    who = identity.current()
    if who.user_id is None:
        abort(404)
    limits = dependencies().settings.session_limits
    with dependencies().ledger.transaction() as session:
        at, actor = ledger_time(session), actors.user(who.user_id)
        if not sign_ins.end(session, session_id, limits, user_id=who.user_id, actor=actor, at=at):
            abort(404, "You have no such session.")
    flash("The session was ended.")
    return redirect(url_for("account.show"), 303)
