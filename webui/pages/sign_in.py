"""Signing in with a name and a passphrase or with a one-time link, and signing out."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.access import identity, passkeys, passphrase_sign_in, second_step, sign_in_limits
from webui.access.on_record import is_prefetch
from webui.access.passphrase_sign_in import NotSignedIn
from webui.access.permissions import Permission, needs
from webui.access.sign_in import delete_cookie, end_this_session, signed_in, start_session
from webui.dependencies import dependencies
from webui.parameters import local_path
from worker.ledger import second_factors, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Failure, Method
from worker.ledger.tables import SignInLink

pages = Blueprint("sign_in", __name__)

_USED = "This link was used before, or it is too old. Ask an administrator for a new one, or run `nightread users link`."


@pages.get("/sign-in")
@needs(Permission.EVERYONE)
def show() -> ResponseReturnValue:
    """Ask for name and passphrase."""
    target = local_path(request.args.get("next", ""))
    if identity.current().is_signed_in:
        return redirect(target, 303)
    return render_template("sign_in.html", target=target, passkeys_are_possible=passkeys.are_possible())


@pages.post("/sign-in")
@needs(Permission.EVERYONE)
def with_passphrase() -> ResponseReturnValue:
    """Sign in with name and passphrase."""
    name, target = request.form.get("name", ""), local_path(request.form.get("next", ""))
    try:
        proof = passphrase_sign_in.prove(name, request.form.get("passphrase", ""))
        with dependencies().ledger.transaction() as session:
            at = ledger_time(session)
            user = passphrase_sign_in.person_of(session, proof, at)
            if second_factors.has_any(session, user.id):
                return second_step.begin(_see(url_for("second_step.show", next=target)), user)
            key = start_session(session, user, Method.PASSPHRASE, at)
    except NotSignedIn as refusal:
        page = render_template(
            "sign_in.html",
            target=target,
            name=name,
            problem=refusal.sentence,
            passkeys_are_possible=passkeys.are_possible(),
        )
        return page, refusal.status, refusal.headers
    return signed_in(target, user.id, key)


@pages.get("/sign-in/<key>")
@needs(Permission.EVERYONE)
def open_link(key: str) -> ResponseReturnValue:
    """Sign in at once if a person opened the link from outside a browser; else ask first.

    A page of another site can make a browser open an address, and a browser may load a page ahead. Neither may use up a
    link, or exchange the person who is signed in.
    """
    is_opened_by_person = request.headers.get("Sec-Fetch-Site", "none") == "none"
    if request.method == "GET" and is_opened_by_person and not is_prefetch():
        return _sign_in(key)
    with dependencies().ledger.reading() as session:
        link = sign_ins.find_link(session, key, ledger_time(session))
        if link is None:
            abort(410, _USED)
        return render_template("sign_in_link.html", person=link.user, key=key)


@pages.post("/sign-in/<key>")
@needs(Permission.EVERYONE)
def use_link(key: str) -> ResponseReturnValue:
    """Sign in with a link."""
    return _sign_in(key)


@pages.post("/sign-out")
@needs(Permission.SIGNED_IN)
def sign_out() -> ResponseReturnValue:
    """End the session of this browser."""
    if identity.current().session_id is not None:
        with dependencies().ledger.transaction() as session:
            end_this_session(session, ledger_time(session))
    return delete_cookie(_see(url_for("sign_in.show")))


def _sign_in(key: str) -> ResponseReturnValue:
    with dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        link = sign_ins.find_link(session, key, at, lock=True)
        if link is not None:
            return _use(session, link, at)
        if sign_in_limits.current().may_record():
            sign_ins.record_failure(session, None, Method.LINK, Failure.WRONG_LINK, at)
    # After the transaction, which an exception would roll back.
    return abort(410, _USED)


def _use(session: Session, link: SignInLink, at: datetime) -> ResponseReturnValue:
    link.used_at = at
    if second_factors.has_any(session, link.user_id):
        return second_step.begin(_see(url_for("second_step.show")), link.user)
    session_key = start_session(session, link.user, Method.LINK, at)
    return signed_in(url_for("home.show"), link.user_id, session_key)


def _see(target: str) -> Response:
    return current_app.make_response(redirect(target, 303))
