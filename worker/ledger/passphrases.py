"""The hash of a person's passphrase. `worker.passphrases` makes it, outside of any transaction, because that is slow.

The audit trail holds the SHA-256 of the hash, so that nobody who writes to the database can exchange a passphrase
unnoticed. It helps nobody to guess: the hash holds a random salt.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from worker.ledger import actors, audit, users
from worker.ledger.tables import User


def set_hash(session: Session, user: User, passphrase_hash: str, *, actor: str, at: datetime) -> None:
    """Give a person another passphrase. Their other sessions should end: see `worker.ledger.sign_ins`.

    Raises UserRefused for a person of the hospital's sign-in service: they could still come in after it has closed their
    account.
    """
    if user.id in users.of_service(session):
        raise users.UserRefused("people of the hospital's sign-in service have no passphrase here")
    _store(session, "passphrase_set", user, passphrase_hash, actor, at)


def renew_hash(session: Session, user: User, passphrase_hash: str, *, at: datetime) -> None:
    """Store another hash of the same passphrase, made with the parameters of this version."""
    _store(session, "passphrase_rehashed", user, passphrase_hash, actors.PROGRAM, at)


def remove(session: Session, user: User, *, actor: str, at: datetime) -> None:
    """Take a person's passphrase away. They need a link to sign in."""
    _store(session, "passphrase_reset", user, None, actor, at)


def _store(
    session: Session, kind: str, user: User, passphrase_hash: str | None, actor: str, at: datetime
) -> None:
    audit.lock(session)
    user.passphrase_hash = passphrase_hash
    session.flush()
    proof = None if passphrase_hash is None else audit.digest(passphrase_hash)
    event = audit.Event(kind, actor, f"user:{user.id}", {"passphrase_hash_sha256": proof})
    audit.append(session, [event], at)
