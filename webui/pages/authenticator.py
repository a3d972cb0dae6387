"""A person's authenticator app: set it up, confirm it with a code, remove it."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from webui.access import identity, passphrase_sign_in, totp
from webui.access.passphrase_sign_in import NotSignedIn
from webui.access.permissions import Permission, needs
from webui.access.sign_in import end_other_sessions
from webui.dependencies import dependencies
from worker.ledger import second_factors, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Method
from worker.ledger.tables import User

pages = Blueprint("authenticator", __name__)


@pages.post("/account/authenticator")
@needs(Permission.SIGNED_IN)
def begin() -> ResponseReturnValue:
    """Show a new secret to enter into an app."""
    who = identity.current()
    try:
        passphrase_sign_in.confirm(who.named_user_id, request.form.get("present", ""))
    except NotSignedIn as refusal:
        return _refused(refusal)
    return _setup_page(totp.new_secret())


@pages.post("/account/authenticator/confirm")
@needs(Permission.SIGNED_IN)
def confirm() -> ResponseReturnValue:
    """Keep the new app if its code is right, and show its recovery codes once."""
    who, user_id = identity.current(), identity.current().named_user_id
    secret = totp.opened(request.form.get("token", ""), user_id)
    if secret is None:
        return _refused(NotSignedIn("This took too long. Set the app up again.", 400))
    with dependencies().ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        step = totp.step_of(secret, request.form.get("code", ""), at)
        if step is None:
            return _setup_page(
                secret, "This code is wrong. Look whether the time of both devices is right."
            ), 400
        codes = second_factors.add_totp(session, user, totp.encrypted(secret), step, actor=who.actor, at=at)
        end_other_sessions(session, user, at)
        if who.session_id is not None:
            sign_ins.strengthen(session, who.session_id, Method.TOTP)
    return render_template("recovery_codes.html", codes=codes)


@pages.post("/account/authenticator/remove")
@needs(Permission.SIGNED_IN)
def remove() -> ResponseReturnValue:
    """Remove the app and its recovery codes."""
    who, user_id = identity.current(), identity.current().named_user_id
    try:
        passphrase_sign_in.confirm(user_id, request.form.get("present", ""))
    except NotSignedIn as refusal:
        return _refused(refusal)
    with dependencies().ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        second_factors.remove_totp(session, user, actor=who.actor, at=at)
        end_other_sessions(session, user, at)
    flash("The authenticator app was removed. Your other sessions ended.")
    return redirect(url_for("account.show"), 303)


def _setup_page(secret: str, problem: str | None = None) -> str:
    address = totp.address_of(secret, identity.current().name or "")
    return render_template(
        "authenticator.html",
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        address=address,
        picture=Markup(totp.picture_of(address)),  # noqa: S704 - drawn by Nightread, and holds no text
        token=totp.sealed(secret, identity.current().named_user_id),
        problem=problem,
    )


def _refused(refusal: NotSignedIn) -> ResponseReturnValue:
    flash(refusal.sentence, "problem")
    return redirect(url_for("account.show"), 303)
