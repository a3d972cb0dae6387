"""People of the hospital's sign-in service. The key of a person there is issuer and subject.

The service decides what such a person may do: their roles are set at each sign-in. Nobody gets the account of another
person by having the same name or the same e-mail address.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import actors, audit, sign_ins, users
from worker.ledger.roles import Role
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import ProviderIdentity, User
from worker.ledger.users import UserRefused
from worker.session_limits import SessionLimits

# The name of somebody whose service gives none that can be used.
_NO_NAME = "Colleague"
_LONGEST_NAME = 90
_MOST_OF_A_NAME = 1000


def arrive(
    session: Session,
    issuer: str,
    subject: str,
    *,
    names: Sequence[str],
    roles: Collection[Role],
    limits: SessionLimits,
    at: datetime,
) -> User | None:
    """Return the person with this identity, with exactly these roles. Add them if they are new and have a role.

    A known person without a role loses their roles and their sessions. Whether the person is disabled is left as it is.

    Args:
        session: of a transaction.
        issuer: the service, which checked who the person is.
        subject: the person's key at the service.
        names: names of the person, the best first. They count only for somebody new.
        roles: what the person's groups give.
        limits: how long sessions may last.
        at: the present time.

    Returns:
        None for somebody new without a role.
    """
    audit.lock(session)
    identity = _find(session, issuer, subject)
    if identity is None:
        return _add(session, issuer, subject, names, roles, at) if roles else None
    user = session.get_one(User, identity.user_id)
    if not roles:
        # Before the roles are taken away: an administrator's sessions run out sooner.
        sign_ins.end_all(session, user, limits, actor=actors.PROGRAM, at=at)
    users.take_over_roles(session, user, roles, at=at)
    return user


def _find(session: Session, issuer: str, subject: str) -> ProviderIdentity | None:
    chosen = select(ProviderIdentity).where(
        ProviderIdentity.issuer == issuer, ProviderIdentity.subject == subject
    )
    return session.scalars(chosen).one_or_none()


def _add(
    session: Session,
    issuer: str,
    subject: str,
    names: Sequence[str],
    roles: Collection[Role],
    at: datetime,
) -> User:
    user = _add_user(session, _usable(names), roles, at)
    salt = new_salt()
    identity = ProviderIdentity(user_id=user.id, issuer=issuer, subject=subject, salt=salt, added_at=at)
    session.add(identity)
    session.flush()
    seals = {"issuer_seal": seal(salt, issuer), "subject_seal": seal(salt, subject)}
    event = audit.Event(
        "identity_added", actors.PROGRAM, f"identity:{identity.id}", {"user_id": user.id, **seals}
    )
    audit.append(session, [event], at)
    return user


def _add_user(session: Session, name: str, roles: Collection[Role], at: datetime) -> User:
    """Add a person under this name, with a number behind it if somebody else has it."""
    for number in range(1, _MOST_OF_A_NAME):
        numbered = name if number == 1 else f"{name} ({number})"
        if users.is_free(session, numbered):
            return users.add(session, numbered, roles, actor=actors.PROGRAM, at=at)
    raise UserRefused(f"there are {_MOST_OF_A_NAME} people with the same name")


def _usable(names: Sequence[str]) -> str:
    for name in names:
        try:
            return users.checked_name(name[:_LONGEST_NAME])
        except UserRefused:
            continue
    return _NO_NAME
