"""`nightread users`: who may come in, and with which roles."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy.orm import Session

from worker.addresses import page_address
from worker.config import Settings
from worker.ledger import actors, passphrases, sign_in_reset, sign_ins, users
from worker.ledger.roles import Role, roles_of
from worker.ledger.schema import open_ledger
from worker.ledger.session import ledger_time
from worker.ledger.tables import User
from worker.passphrases import rules
from worker.passphrases.hashing import hashed


def add(settings: Settings, name: str, roles: Collection[Role]) -> str:
    """Add a person and return a link that signs them in once. Raises UserRefused."""
    with open_ledger(settings.database).transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        user = users.add(session, name, roles, actor=actor, at=at)
        return _link(settings, session, user)


def link(settings: Settings, name: str) -> str:
    """Return a new link that signs a person in once. Raises LookupError for an unknown name, UserRefused."""
    with open_ledger(settings.database).transaction() as session:
        return _link(settings, session, users.find(session, name))


def reset(settings: Settings, name: str) -> str:
    """Take from a person every way to sign in, and return a new link. Raises LookupError for an unknown name, UserRefused."""
    with open_ledger(settings.database).transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        key = sign_in_reset.reset(
            session, users.find(session, name), settings.session_limits, actor=actor, at=at
        )
        return _address(settings, key)


def set_passphrase(settings: Settings, name: str, passphrase: str) -> None:
    """Give a person another passphrase and end their sessions.

    Raises:
        LookupError: nobody has this name.
        UserRefused: the passphrase is not allowed.
    """
    ledger = open_ledger(settings.database)
    with ledger.reading() as session:
        refusal = rules.refusal(passphrase, name=users.find(session, name).name)
    if refusal is not None:
        raise users.UserRefused(refusal.removesuffix("."))
    passphrase_hash = hashed(passphrase)
    with ledger.transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        user = users.find(session, name)
        passphrases.set_hash(session, user, passphrase_hash, actor=actor, at=at)
        sign_ins.end_all(session, user, settings.session_limits, actor=actor, at=at)


def set_roles(settings: Settings, name: str, roles: Collection[Role]) -> None:
    """Give a person exactly these roles. Raises LookupError for an unknown name, UserRefused."""
    with open_ledger(settings.database).transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        users.set_roles(session, users.find(session, name), roles, actor=actor, at=at)


def disable(settings: Settings, name: str) -> None:
    """Keep a person out and end their sessions and tokens. Raises LookupError for an unknown name, UserRefused."""
    with open_ledger(settings.database).transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        sign_ins.keep_out(session, users.find(session, name), settings.session_limits, actor=actor, at=at)


def enable(settings: Settings, name: str) -> None:
    """Let a person in again. Raises LookupError for an unknown name."""
    with open_ledger(settings.database).transaction() as session:
        at, actor = ledger_time(session), actors.operating_system_user()
        users.enable(session, users.find(session, name), actor=actor, at=at)


def documents(settings: Settings) -> list[dict[str, Any]]:
    """Return a document of each person."""
    with open_ledger(settings.database).reading() as session:
        return [
            {
                "user": user.id,
                "name": user.name,
                "roles": sorted(roles_of(user.roles)),
                "disabled": user.disabled_at is not None,
            }
            for user in users.everybody(session)
        ]


def as_text(people: Collection[dict[str, Any]]) -> str:
    """Return a line for each person."""
    if not people:
        return "There is nobody yet. `nightread up` prints a link for the first administrator."
    width = max(len(person["name"]) for person in people)
    return "\n".join(
        f"{person['name']:{width}}  {', '.join(person['roles'])}{'  (disabled)' if person['disabled'] else ''}"
        for person in people
    )


def _link(settings: Settings, session: Session, user: User) -> str:
    at, actor = ledger_time(session), actors.operating_system_user()
    return _address(settings, sign_ins.make_link(session, user, actor=actor, at=at))


def _address(settings: Settings, key: str) -> str:
    return f"{page_address(settings)}/sign-in/{key}"
