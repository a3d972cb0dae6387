"""Signs people in for the tests, without the page: the ledger makes the session, and the test sends its cookie."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from webui.access.identity import COOKIE
from webui.dependencies import EXTENSION
from worker.ledger import actors, passphrases, sign_ins, tokens, users
from worker.ledger.roles import Role, Scope, roles_text
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.sign_ins import Method
from worker.ledger.tables import User

EVERY_ROLE = frozenset(Role)
TOKEN_OWNER = "Owner of tokens"


def person(ledger: Ledger, name: str, roles: Collection[Role] = (Role.READER,)) -> int:
    """Return the id of a person with these roles, who is added if there is none of this name."""
    with ledger.transaction() as session:
        at = ledger_time(session)
        user = session.scalars(select(User).where(User.name == name)).one_or_none()
        if user is None:
            user = users.add(session, name, roles, actor=actors.PROGRAM, at=at)
        elif user.roles != roles_text(roles):
            users.set_roles(session, user, roles, actor=actors.PROGRAM, at=at)
        return user.id


def session_key(ledger: Ledger, name: str, roles: Collection[Role] = (Role.READER,)) -> str:
    """Return the key of a new session of a person."""
    user_id = person(ledger, name, roles)
    with ledger.transaction() as session:
        user = session.get_one(User, user_id)
        at = ledger_time(session)
        return sign_ins.start(session, user, Method.LINK, address="127.0.0.1", browser="test", at=at)[1]


def sign_in(
    client: FlaskClient, ledger: Ledger, name: str = "Somebody", roles: Collection[Role] = EVERY_ROLE
) -> FlaskClient:
    """Sign a person in and return the client, which says like a browser that its requests come from our pages."""
    client.set_cookie(COOKIE, session_key(ledger, name, roles))
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    return client


def cookie_header(ledger: Ledger, name: str = "Ada", roles: Collection[Role] = EVERY_ROLE) -> dict[str, str]:
    """Return the headers of a request that a page of a signed-in person makes."""
    return {"Cookie": f"{COOKIE}={session_key(ledger, name, roles)}", "Sec-Fetch-Site": "same-origin"}


def ready_administrator(ledger: Ledger) -> None:
    """Add an administrator who can sign in without a link: the page may then listen on every address."""
    user_id = person(ledger, "Adam", {Role.ADMINISTRATOR})
    with ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        passphrases.set_hash(session, user, "of no passphrase", actor=actors.PROGRAM, at=at)


class Browser(FlaskClient):
    """A client that says like a browser where its requests come from: unless a test says more, from a person."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.environ_base["HTTP_SEC_FETCH_SITE"] = "none"


def signed_in_client(app: Flask, name: str = "Somebody", roles: Collection[Role] = EVERY_ROLE) -> FlaskClient:
    """Return a client of the application in which a person is signed in."""
    return sign_in(app.test_client(), app.extensions[EXTENSION].ledger, name, roles)


def token_key(
    ledger: Ledger, scopes: Collection[Scope], owner: str = TOKEN_OWNER, roles: Collection[Role] = EVERY_ROLE
) -> str:
    """Return the key of a new API token of a person with these roles."""
    owner_id = person(ledger, owner, roles)
    with ledger.transaction() as session:
        at = ledger_time(session)
        return tokens.add(
            session, owner_id=owner_id, name="script", scopes=scopes, days=1, actor=actors.PROGRAM, at=at
        ).key


def bearer(
    ledger: Ledger, scopes: Collection[Scope], owner: str = TOKEN_OWNER, roles: Collection[Role] = EVERY_ROLE
) -> dict[str, str]:
    """Return the headers of a program with a new API token."""
    return {"Authorization": f"Bearer {token_key(ledger, scopes, owner, roles)}"}
