"""Takes from a person every way to sign in, and gives them a link: for who lost a phone or forgot a passphrase."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from worker.ledger import passphrases, second_factors, sign_ins, tokens
from worker.ledger.tables import User
from worker.session_limits import SessionLimits


def reset(session: Session, user: User, limits: SessionLimits, *, actor: str, at: datetime) -> str:
    """Remove a person's passphrase, second factors, sessions and API tokens, and return the key of a new link.

    Raises UserRefused if the person is disabled.
    """
    passphrases.remove(session, user, actor=actor, at=at)
    second_factors.remove_all(session, user, actor=actor, at=at)
    sign_ins.end_all(session, user, limits, actor=actor, at=at)
    tokens.revoke_all(session, user.id, actor=actor, at=at)
    return sign_ins.make_link(session, user, actor=actor, at=at)
