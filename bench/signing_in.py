"""Signs the measuring program in: a reader of its own, whose session or token the ledger makes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from webui.access.identity import COOKIE
from worker.ledger import actors, sign_ins, tokens, users
from worker.ledger.roles import Role, Scope
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.sign_ins import Method
from worker.ledger.tables import User

_NAME = "Bench"
_ROLES = {Role.READER, Role.ADMINISTRATOR, Role.AUDITOR}


def session_cookie(ledger: Ledger) -> tuple[str, str]:
    """Return name and value of the cookie of a new session."""
    with ledger.transaction() as session:
        at = ledger_time(session)
        user = _user(session, at)
        return COOKIE, sign_ins.start(session, user, Method.LINK, address="", browser="bench", at=at)[1]


def token_headers(ledger: Ledger) -> dict[str, str]:
    """Return the headers of a program with a new API token that uploads and looks at images."""
    scopes = {Scope.IMAGES_READ, Scope.IMAGES_WRITE}
    with ledger.transaction() as session:
        at = ledger_time(session)
        owner_id = _user(session, at).id
        new = tokens.add(
            session, owner_id=owner_id, name="bench", scopes=scopes, days=1, actor=actors.PROGRAM, at=at
        )
    return {"Authorization": f"Bearer {new.key}"}


def _user(session: Session, at: datetime) -> User:
    user = session.scalars(select(User).where(User.name == _NAME)).one_or_none()
    return user or users.add(session, _NAME, _ROLES, actor=actors.PROGRAM, at=at)
