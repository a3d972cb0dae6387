"""The second step of signing in: whoever typed a right passphrase, or opened a link, must still show a second factor.

A signed cookie holds this for five minutes. It lets nobody in, and is worth nothing after the passphrase was changed.
"""

from __future__ import annotations

from datetime import datetime

from flask import Response
from itsdangerous import BadData
from sqlalchemy.orm import Session

from webui import cookies
from webui.access import passphrase_sign_in, totp
from webui.access.passphrase_sign_in import NotSignedIn
from webui.dependencies import dependencies
from worker.ledger import actors, audit, second_factors, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Failure, Method
from worker.ledger.tables import User

COOKIE = "nightread_second_step"
_VALID_S = 300
_WRONG = "This code is wrong, or it was used before. Wait for the next one."


def begin(response: Response, user: User) -> Response:
    """Remember that a person typed the right passphrase, or opened their link."""
    value = cookies.signer("second-step").dumps([user.id, _proof_of(user)])
    cookies.write(response, COOKIE, str(value), max_age_s=_VALID_S)
    return response


def end(response: Response) -> Response:
    """Forget it."""
    cookies.delete(response, COOKIE)
    return response


def person(session: Session) -> User | None:
    """Return who has done the first step in the last five minutes; None: nobody."""
    try:
        user_id, proof = cookies.signer("second-step").loads(cookies.read(COOKIE) or "", max_age=_VALID_S)
    except (BadData, ValueError, TypeError):
        return None
    user = session.get(User, user_id)
    is_valid = user is not None and user.disabled_at is None and _proof_of(user) == proof
    return user if is_valid else None


def check_code(user_id: int, code: str) -> Method:
    """Return how a person shows a second factor: with a code of their app, or with a recovery code.

    Raises:
        NotSignedIn: the code is wrong or was used before, or there were too many tries.
    """
    tried = passphrase_sign_in.count_try("second", str(user_id), user_id)
    with dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        method = _method_of(session, user_id, code, at)
        if method is None:
            user = session.get_one(User, user_id)
            sign_ins.record_failure(session, user, Method.TOTP, Failure.WRONG_CODE, at)
    if method is None:
        raise NotSignedIn(_WRONG, 400)
    passphrase_sign_in.give_back(tried)
    return method


def _method_of(session: Session, user_id: int, code: str, at: datetime) -> Method | None:
    app = second_factors.totp_of(session, user_id)
    secret = totp.decrypted(app.secret) if app is not None else None
    if app is None:
        return None
    step = totp.step_of(secret, code, at) if secret is not None else None
    if step is not None:
        return Method.TOTP if second_factors.accept_step(session, app, step) else None
    is_recovery = second_factors.use_recovery_code(session, app, code, actor=actors.user(user_id), at=at)
    return Method.RECOVERY_CODE if is_recovery else None


def _proof_of(user: User) -> str:
    return audit.digest(user.passphrase_hash or "")[:32]
