"""API tokens: keys with which programs act for their owners.

A key is `nr_` and 256 random bits as hexadecimal digits. The prefix and the fixed length let scanners for secrets find
a key that was published by mistake. The ledger holds the SHA-256 of the key only. A slow hash with a salt protects
passwords because people choose words; nobody can try 2^256 keys, however fast the hash is (OWASP ASVS 5.0, 11.4.2
and 11.5.1). A lookup by the hash also tells nothing by its duration: without the key, nobody can choose a hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from worker.ledger import audit
from worker.ledger.roles import Scope, roles_of, scopes_in, scopes_of, scopes_text
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import ApiToken, User

DEFAULT_DAYS = 90
LONGEST_DAYS = 365
_PREFIX = "nr_"
_KEY_BYTES = 32
_LONGEST_NAME = 100
# A program may send many requests a second, and a write for each would delay readers.
_USE_PERIOD = timedelta(minutes=1)


class TokenState(StrEnum):
    """Whether a token can be used."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    OWNER_DISABLED = "owner_disabled"


_SENTENCES = {
    TokenState.EXPIRED: "This token has expired. Make a new one.",
    TokenState.REVOKED: "This token was revoked.",
    TokenState.OWNER_DISABLED: "The owner of this token may not use Nightread any more.",
}


class TokenRefused(ValueError):  # noqa: N818 - an outcome with a sentence for people
    """A token cannot be added as asked; the message says why."""


class InvalidToken(Exception):  # noqa: N818 - an answer with a sentence for whoever sent the key
    """This key opens nothing now; the message says why."""


@dataclass(frozen=True)
class NewToken:
    """A token that was added, and its key, which is shown once and kept nowhere."""

    token: ApiToken
    key: str


def add(
    session: Session,
    *,
    owner_id: int,
    name: str,
    scopes: Collection[Scope],
    days: int,
    actor: str,
    at: datetime,
) -> NewToken:
    """Add a token.

    Args:
        session: of a transaction.
        owner_id: id of the person for whom programs will act with it.
        name: what the owner calls it, 1 to 100 characters.
        scopes: at least one, and only scopes that the roles of the owner allow.
        days: after so many days it expires, 1 to 365.
        actor: who adds it.
        at: the time by the ledger's clock.

    Raises:
        LookupError: there is no such person.
        TokenRefused: the owner is disabled, or a value is not allowed.
    """
    name = _checked_name(name)
    if not 1 <= days <= LONGEST_DAYS:
        raise TokenRefused(f"a token lasts 1 to {LONGEST_DAYS} days")
    audit.lock(session)
    _check_owner(session, owner_id, scopes)
    key, salt = new_key(), new_salt()
    token = ApiToken(
        owner_id=owner_id,
        name=name,
        salt=salt,
        key_hash=audit.digest(key),
        scopes=scopes_text(scopes),
        created_at=at,
        expires_at=at + timedelta(days=days),
    )
    session.add(token)
    session.flush()
    audit.append(session, [audit.Event("token_added", actor, f"api_token:{token.id}", _facts(token))], at)
    return NewToken(token, key)


def revoke(session: Session, token_id: int, *, actor: str, at: datetime, owner_id: int | None = None) -> None:
    """End a token at once. A token that was revoked before stays as it is.

    Raises LookupError if there is no such token, or if `owner_id` is given and the token has another owner.
    """
    audit.lock(session)
    token = session.get(ApiToken, token_id, populate_existing=True)
    if token is None or owner_id not in {None, token.owner_id}:
        raise LookupError(f"there is no token {token_id}")
    _revoke(session, [token] if token.revoked_at is None else [], actor, at)


def revoke_all(session: Session, owner_id: int, *, actor: str, at: datetime) -> None:
    """End all tokens of a person at once."""
    audit.lock(session)
    unrevoked = select(ApiToken).where(ApiToken.owner_id == owner_id, ApiToken.revoked_at.is_(None))
    _revoke(session, session.scalars(unrevoked.order_by(ApiToken.id)).all(), actor, at)


def authenticate(session: Session, key: str, at: datetime) -> ApiToken:
    """Return the token of a key, with its owner. Raises InvalidToken if it may not be used now."""
    found = select(ApiToken).where(ApiToken.key_hash == audit.digest(key)).options(joinedload(ApiToken.owner))
    token = session.scalars(found).one_or_none()
    if token is None:
        raise InvalidToken("Nightread does not know this token. Check that it was copied as a whole.")
    state = state_of(token, at)
    if state is not TokenState.VALID:
        raise InvalidToken(_SENTENCES[state])
    return token


def granted(token: ApiToken) -> frozenset[Scope]:
    """Return the scopes that the token has and that the present roles of its owner allow. `owner` must be loaded."""
    return scopes_in(token.scopes) & scopes_of(roles_of(token.owner.roles))


def state_of(token: ApiToken, at: datetime) -> TokenState:
    """Return whether the token can be used at this time, and if not, why. `owner` must be loaded."""
    if token.revoked_at is not None:
        return TokenState.REVOKED
    if token.owner.disabled_at is not None:
        return TokenState.OWNER_DISABLED
    return TokenState.EXPIRED if token.expires_at <= at else TokenState.VALID


def use_is_due(token: ApiToken, at: datetime) -> bool:
    """Return whether the last use that the ledger knows is so long ago that this one is to be recorded."""
    return token.last_used_at is None or at - token.last_used_at >= _USE_PERIOD


def record_use(session: Session, token_id: int, at: datetime) -> None:
    """Record that a token was used."""
    session.execute(
        update(ApiToken)
        .where(ApiToken.id == token_id)
        .values(last_used_at=at)
        .execution_options(synchronize_session=False)
    )


def listed(
    session: Session, *, owner_id: int | None = None, before: int | None = None, limit: int | None = None
) -> Sequence[ApiToken]:
    """Return tokens with their owners, the newest first.

    Args:
        session: of a snapshot or a transaction.
        owner_id: only the tokens of this person; None: of all.
        before: only tokens with a lower id.
        limit: at most so many; None: all.
    """
    chosen = select(ApiToken).options(joinedload(ApiToken.owner)).order_by(ApiToken.id.desc()).limit(limit)
    if owner_id is not None:
        chosen = chosen.where(ApiToken.owner_id == owner_id)
    if before is not None:
        chosen = chosen.where(ApiToken.id < before)
    return session.scalars(chosen).all()


def new_key() -> str:
    """Return a new key: `nr_` and 64 hexadecimal digits."""
    return _PREFIX + secrets.token_hex(_KEY_BYTES)


def _check_owner(session: Session, owner_id: int, scopes: Collection[Scope]) -> None:
    owner = session.get(User, owner_id, populate_existing=True)
    if owner is None:
        raise LookupError(f"there is no person {owner_id}")
    if owner.disabled_at is not None:
        raise TokenRefused("the owner of the token is disabled")
    if not scopes:
        raise TokenRefused("a token needs at least one scope")
    refused = sorted(set(scopes) - scopes_of(roles_of(owner.roles)))
    if refused:
        raise TokenRefused(f"the roles of the owner do not allow the scope {', '.join(refused)}")


def _revoke(session: Session, unrevoked: Sequence[ApiToken], actor: str, at: datetime) -> None:
    for token in unrevoked:
        token.revoked_at = at
    events = (audit.Event("token_revoked", actor, f"api_token:{token.id}", {}) for token in unrevoked)
    audit.append(session, events, at)


def _facts(token: ApiToken) -> dict[str, object]:
    return {
        "owner": token.owner_id,
        "name_seal": seal(token.salt or "", token.name),
        "key_hash": token.key_hash,
        "scopes": token.scopes,
        "expires_at": token.expires_at.isoformat(timespec="microseconds"),
    }


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise TokenRefused(f"the name of a token has 1 to {_LONGEST_NAME} printable characters")
    return name
