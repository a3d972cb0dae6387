"""The identity of a request: a signed-in person, a program with an API token, or nobody."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from flask import g

from webui import cookies
from webui.access import bearer
from webui.access.permissions import Permission, of_roles, of_scopes
from webui.dependencies import dependencies
from worker.errors import TransientFailure
from worker.ledger import actors, sign_ins, tokens
from worker.ledger.roles import Role, Scope, roles_of
from worker.ledger.session import ledger_time
from worker.ledger.tables import User
from worker.ledger.tokens import InvalidToken
from worker.ledger.users import UNNAMED

COOKIE = "nightread_session"


class NoName(Exception):  # noqa: N818 - names what is missing
    """The request needs a person who has entered a name."""


@dataclass(frozen=True)
class Identity:
    """The person or program that makes a request.

    Attributes:
        actor: as the audit trail holds it.
        roles: of the person, or of the owner of the token; empty for nobody. `permissions` says what they allow.
        user_id: id of the person, or of the owner of the token; None for nobody.
        name: the name of that person; None if they have not entered one.
        session_id: id of the browser's session.
        scopes: of the token, as far as the roles of its owner allow them; None for a person, and for nobody.
        lacks_second_factor: whether a role asks for a second factor, and this session began without one.
    """

    actor: str = actors.ANONYMOUS
    roles: frozenset[Role] = frozenset()
    user_id: int | None = None
    name: str | None = None
    session_id: int | None = None
    scopes: frozenset[Scope] | None = None
    lacks_second_factor: bool = False

    @cached_property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of the request."""
        if not self.is_signed_in:
            return frozenset({Permission.EVERYONE})
        allowed = of_roles(frozenset() if self.lacks_second_factor else self.roles)
        return allowed if self.scopes is None else allowed & of_scopes(self.scopes)

    @property
    def is_signed_in(self) -> bool:
        """Whether the request has an identity."""
        return self.actor != actors.ANONYMOUS

    def may(self, permission: str) -> bool:
        """Return whether the request has a permission."""
        return Permission(permission) in self.permissions

    @property
    def named_user_id(self) -> int:
        """The id of the person who reads. Raises NoName if they have not entered their name."""
        if self.user_id is None or self.name is None:
            raise NoName
        return self.user_id


ANONYMOUS = Identity()


def current() -> Identity:
    """Return who makes the current request. A token counts before the cookie.

    Raises:
        InvalidToken: the request carries a key that opens nothing.
        TransientFailure: the ledger cannot be read.
    """
    if "identity" not in g:
        token_key, session_key = bearer.key_of_request(), cookies.read(COOKIE)
        if token_key is not None:
            g.identity = _of_token(token_key)
        else:
            g.identity = _of_session(session_key) if session_key else ANONYMOUS
    identity: Identity = g.identity
    return identity


def current_if_known() -> Identity:
    """Return who makes the current request; nobody if the ledger cannot be read, or does not know the key."""
    try:
        return current()
    except (TransientFailure, InvalidToken):
        g.identity = ANONYMOUS
        return ANONYMOUS


def mark_seen() -> None:
    """Record that the session or the token of the request is in use, at most once a minute.

    Do nothing while the ledger cannot be written: pages can still be looked at.
    """
    browser, token = g.get("browser"), g.get("token")
    ledger = dependencies().ledger
    if browser is not None and sign_ins.must_be_marked(browser, g.identity_at):
        with suppress(TransientFailure), ledger.transaction(without_fsync=True) as session:
            sign_ins.mark_seen(session, browser.id, g.identity_at)
    if token is not None and tokens.use_is_due(token, g.identity_at):
        with suppress(TransientFailure), ledger.transaction(without_fsync=True) as session:
            tokens.record_use(session, token.id, g.identity_at)


def _of_session(key: str) -> Identity:
    with dependencies().ledger.reading() as session:
        at = ledger_time(session)
        browser = sign_ins.find(session, key, dependencies().settings.session_limits, at)
    if browser is None:
        return ANONYMOUS
    g.browser, g.identity_at = browser, at
    user, roles = browser.user, roles_of(browser.user.roles)
    asked = roles_of(dependencies().settings.second_factor_roles)
    return Identity(
        actors.user(user.id),
        roles,
        user.id,
        _name_of(user),
        browser.id,
        lacks_second_factor=bool(roles & asked) and browser.method in sign_ins.SINGLE_FACTOR,
    )


def _of_token(key: str) -> Identity:
    with dependencies().ledger.reading() as session:
        at = ledger_time(session)
        token = tokens.authenticate(session, key, at)
    g.token, g.identity_at = token, at
    owner = token.owner
    return Identity(
        actors.token(token.id),
        roles_of(owner.roles),
        owner.id,
        _name_of(owner),
        scopes=tokens.granted(token),
    )


def _name_of(user: User) -> str | None:
    return None if user.name == UNNAMED else user.name
