"""People: an administrator adds people, gives them roles and links, ends their sessions, keeps them out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.parameters import bad_request_on_value_error
from worker.ledger import sign_in_reset, sign_ins, users
from worker.ledger.roles import Role, roles_of
from worker.ledger.session import ledger_time
from worker.ledger.tables import User
from worker.ledger.users import UserRefused

pages = Blueprint("people", __name__)

_Change = Callable[[Session, User, datetime], None]


@pages.get("/people")
@needs(Permission.MANAGE)
def show() -> ResponseReturnValue:
    """List everybody."""
    limits = dependencies().settings.session_limits
    with dependencies().ledger.reading() as session:
        at = ledger_time(session)
        rows = [
            (user, roles_of(user.roles), sign_ins.of_user(session, user, limits, at))
            for user in users.everybody(session)
        ]
        return render_template(
            "people.html", rows=rows, all_roles=list(Role), of_service=users.of_service(session)
        )


@pages.post("/people")
@needs(Permission.MANAGE)
def add() -> ResponseReturnValue:
    """Add a person and show a link for them."""
    who = identity.current()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        user = users.add(session, request.form.get("name", ""), _roles(), actor=who.actor, at=at)
        key = sign_ins.make_link(session, user, actor=who.actor, at=at)
    return _link_page(user, key)


@pages.post("/people/<id:user_id>/link")
@needs(Permission.MANAGE)
def link(user_id: int) -> ResponseReturnValue:
    """Make a new link for a person and show it once."""
    who = identity.current()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        user = _user(session, user_id)
        key = sign_ins.make_link(session, user, actor=who.actor, at=ledger_time(session))
    return _link_page(user, key)


@pages.post("/people/<id:user_id>/reset")
@needs(Permission.MANAGE)
def reset(user_id: int) -> ResponseReturnValue:
    """Take from another person every way to sign in, and show a link for them once."""
    who = identity.current()
    if user_id == who.user_id:
        abort(409, "Change how you sign in yourself on the page Account.")
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        user, at = _user(session, user_id), ledger_time(session)
        limits = dependencies().settings.session_limits
        key = sign_in_reset.reset(session, user, limits, actor=who.actor, at=at)
    return _link_page(user, key)


@pages.post("/people/<id:user_id>/roles")
@needs(Permission.MANAGE)
def set_roles(user_id: int) -> ResponseReturnValue:
    """Give a person other roles."""
    actor = identity.current().actor
    with bad_request_on_value_error():
        roles = _roles()
    return _change(
        user_id, lambda session, user, at: users.set_roles(session, user, roles, actor=actor, at=at)
    )


@pages.post("/people/<id:user_id>/disable")
@needs(Permission.MANAGE)
def disable(user_id: int) -> ResponseReturnValue:
    """Keep a person out, and end all their sessions and tokens."""
    actor, limits = identity.current().actor, dependencies().settings.session_limits
    return _change(
        user_id, lambda session, user, at: sign_ins.keep_out(session, user, limits, actor=actor, at=at)
    )


@pages.post("/people/<id:user_id>/enable")
@needs(Permission.MANAGE)
def enable(user_id: int) -> ResponseReturnValue:
    """Let a person in again."""
    actor = identity.current().actor
    return _change(user_id, lambda session, user, at: users.enable(session, user, actor=actor, at=at))


@pages.post("/people/<id:user_id>/end-sessions")
@needs(Permission.MANAGE)
def end_sessions(user_id: int) -> ResponseReturnValue:
    """End all sessions of a person."""
    actor, limits = identity.current().actor, dependencies().settings.session_limits

    def end(session: Session, user: User, at: datetime) -> None:
        sign_ins.end_all(session, user, limits, actor=actor, at=at)

    return _change(user_id, end)


@pages.post("/people/<id:user_id>/sessions/<id:session_id>/end")
@needs(Permission.MANAGE)
def end_session(user_id: int, session_id: int) -> ResponseReturnValue:
    """End one session of a person."""
    actor, limits = identity.current().actor, dependencies().settings.session_limits

    def end(session: Session, user: User, at: datetime) -> None:
        if not sign_ins.end(session, session_id, limits, user_id=user.id, actor=actor, at=at):
            abort(404, "This person has no such session, or it has ended.")

    answer = _change(user_id, end)
    flash("The session was ended.")
    return answer


def _change(user_id: int, change: _Change) -> ResponseReturnValue:
    try:
        with dependencies().ledger.transaction() as session:
            change(session, _user(session, user_id), ledger_time(session))
    except UserRefused as refusal:
        flash(as_sentence(refusal), "problem")
    return redirect(url_for("people.show"), 303)


def _roles() -> set[Role]:
    """Return the roles that the form names. Raises ValueError for an unknown one."""
    return {Role(name) for name in request.form.getlist("role")}


def _user(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        abort(404, f"There is no person {user_id}.")
    return user


def _link_page(user: User, key: str) -> ResponseReturnValue:
    address = url_for("sign_in.open_link", key=key, _external=True)
    return render_template("people_link.html", person=user, address=address)
