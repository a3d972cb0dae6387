"""Passkeys: sign in with one, add one, remove one. The scripts of `passkeys.js` ask, so the answers are JSON."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity, passkeys, passphrase_sign_in, second_step
from webui.access.passphrase_sign_in import NotSignedIn
from webui.access.permissions import Permission, needs
from webui.access.sign_in import end_other_sessions, give_session, start_session
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.parameters import json_object, local_path
from worker.ledger import second_factors, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Failure, Method
from worker.ledger.tables import Passkey, User
from worker.ledger.users import UserRefused

pages = Blueprint("passkeys", __name__)


@pages.post("/sign-in/passkey/options")
@needs(Permission.EVERYONE)
def sign_in_options() -> ResponseReturnValue:
    """Return what the browser needs to sign in with a passkey."""
    _check_possible()
    return passkeys.options_to_sign_in()


@pages.post("/sign-in/passkey")
@needs(Permission.EVERYONE)
def sign_in() -> ResponseReturnValue:
    """Sign in with a passkey, and return the address of the page to open."""
    _check_possible()
    answer = json_object()
    try:
        credential_id = passkeys.credential_id_of(answer)
        tried = passphrase_sign_in.count_try("passkey", credential_id, _owner_id(credential_id))
        user_id, key = _start_session(answer)
    except NotSignedIn as refusal:
        return {"error": refusal.sentence}, refusal.status, refusal.headers
    passphrase_sign_in.give_back(tried)
    response = jsonify({"next": local_path(str(answer.get("next", "")))})
    return second_step.end(give_session(response, user_id, key))


@pages.post("/account/passkeys/options")
@needs(Permission.SIGNED_IN)
def options_to_add() -> ResponseReturnValue:
    """Return what the browser needs to make a passkey. The person must give their passphrase, if they have one."""
    _check_possible()
    user_id = identity.current().named_user_id
    try:
        passphrase_sign_in.confirm(user_id, str(json_object().get("present", "")))
    except NotSignedIn as refusal:
        return {"error": refusal.sentence}, refusal.status, refusal.headers
    with dependencies().ledger.reading() as session:
        user, present = session.get_one(User, user_id), second_factors.passkeys_of(session, user_id)
    return passkeys.options_to_add(user, present)


@pages.post("/account/passkeys")
@needs(Permission.SIGNED_IN)
def add() -> ResponseReturnValue:
    """Keep a passkey that the browser has made."""
    _check_possible()
    who, user_id, answer = identity.current(), identity.current().named_user_id, json_object()
    try:
        credential_id, public_key, sign_count = passkeys.checked_addition(answer, user_id)
        with dependencies().ledger.transaction() as session:
            at, user = ledger_time(session), session.get_one(User, user_id)
            second_factors.add_passkey(
                session,
                user,
                name=str(answer.get("name", "")),
                credential_id=credential_id,
                public_key=public_key,
                sign_count=sign_count,
                actor=who.actor,
                at=at,
            )
            end_other_sessions(session, user, at)
            if who.session_id is not None:
                sign_ins.strengthen(session, who.session_id, Method.PASSKEY)
    except NotSignedIn as refusal:
        return {"error": refusal.sentence}, refusal.status
    except UserRefused as refusal:
        return {"error": as_sentence(refusal)}, 400
    flash("The passkey was added. Your other sessions ended.")
    return {"next": url_for("account.show")}


@pages.post("/account/passkeys/<id:passkey_id>/remove")
@needs(Permission.SIGNED_IN)
def remove(passkey_id: int) -> ResponseReturnValue:
    """Remove one of the person's passkeys. They must give their passphrase, if they have one."""
    who, user_id = identity.current(), identity.current().named_user_id
    try:
        passphrase_sign_in.confirm(user_id, request.form.get("present", ""))
    except NotSignedIn as refusal:
        flash(refusal.sentence, "problem")
        return redirect(url_for("account.show"), 303)
    with dependencies().ledger.transaction() as session:
        passkey = session.get(Passkey, passkey_id)
        if passkey is None or passkey.user_id != user_id or passkey.removed_at is not None:
            abort(404, "You have no such passkey.")
        user, at = session.get_one(User, user_id), ledger_time(session)
        second_factors.remove_passkey(session, passkey, actor=who.actor, at=at)
        end_other_sessions(session, user, at)
    flash("The passkey was removed. Your other sessions ended.")
    return redirect(url_for("account.show"), 303)


def _owner_id(credential_id: str) -> int | None:
    with dependencies().ledger.reading() as session:
        passkey = second_factors.find_passkey(session, credential_id)
        return passkey.user_id if passkey is not None else None


def _start_session(answer: dict[str, Any]) -> tuple[int, str]:
    """Return the person whom a passkey proves, and the key of their new session. Raises NotSignedIn."""
    with dependencies().ledger.reading() as session:
        seen = second_factors.find_passkey(session, passkeys.credential_id_of(answer))
        user = session.get_one(User, seen.user_id) if seen is not None else None
    is_enabled = user is not None and user.disabled_at is None
    try:
        sign_count = passkeys.checked_sign_in(answer, seen if is_enabled else None)
    except NotSignedIn:
        with dependencies().ledger.transaction() as session:
            at = ledger_time(session)
            sign_ins.record_failure(session, user, Method.PASSKEY, Failure.WRONG_PASSKEY, at)
        raise
    with dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        passkey = second_factors.find_passkey(session, passkeys.credential_id_of(answer), lock=True)
        person = session.get_one(User, passkey.user_id) if passkey is not None else None
        if passkey is None or person is None or person.disabled_at is not None:
            raise NotSignedIn(passkeys.WRONG, 400)
        passkey.sign_count, passkey.used_at = sign_count, at
        return person.id, start_session(session, person, Method.PASSKEY, at)


def _check_possible() -> None:
    if not passkeys.are_possible():
        abort(404)
