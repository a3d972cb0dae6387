"""`nightread tokens`: API tokens, with which programs act for their owners."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from worker.ledger import tokens, users
from worker.ledger.actors import operating_system_user
from worker.ledger.roles import Scope, scopes_in
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import ApiToken
from worker.terminal import printable


def add(ledger: Ledger, *, owner: str, name: str, scopes: Collection[Scope], days: int) -> dict[str, Any]:
    """Add a token for the person with the name `owner`, and return its document with the key.

    Raises LookupError if there is no such person, TokenRefused if a value is not allowed.
    """
    with ledger.transaction() as session:
        at = ledger_time(session)
        new = tokens.add(
            session,
            owner_id=users.find(session, owner).id,
            name=name,
            scopes=scopes,
            days=days,
            actor=operating_system_user(),
            at=at,
        )
        return {**_document(new.token, at), "key": new.key}


def listed(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the documents of all tokens, the newest first."""
    with ledger.reading() as session:
        at = ledger_time(session)
        return [_document(token, at) for token in tokens.listed(session)]


def revoke(ledger: Ledger, token_ids: Sequence[int]) -> list[str]:
    """Revoke tokens; return a sentence for each id that no token has."""
    errors = []
    for token_id in token_ids:
        try:
            with ledger.transaction() as session:
                at = ledger_time(session)
                tokens.revoke(session, token_id, actor=operating_system_user(), at=at)
        except LookupError:
            errors.append(f"There is no token {token_id}.")
    return errors


def as_text(documents: Sequence[dict[str, Any]]) -> str:
    """Return the list as text for people."""
    return "\n".join(map(_line, documents)) or "There are no tokens."


def advice(document: dict[str, Any]) -> str:
    """Return what to do with the key of a new token."""
    return printable(
        f"Token {document['token']} of {document['owner']} expires {_minute(document['expires_at'])} UTC. "
        "Keep its key now: Nightread shows it only this once. Send it in the header `Authorization: Bearer KEY`."
    )


def _line(document: dict[str, Any]) -> str:
    state = document["state"].replace("_", " ")
    used = f"last used {_minute(document['last_used_at'])}" if document["last_used_at"] else "never used"
    facts = (
        f"{document['token']:>4}  {state}, expires {_minute(document['expires_at'])}, {used}",
        ", ".join(document["scopes"]),
        f"{document['name']} ({document['owner']})",
    )
    return printable("; ".join(facts))


def _document(token: ApiToken, at: datetime) -> dict[str, Any]:
    return {
        "token": token.id,
        "name": token.name,
        "owner": token.owner.name,
        "scopes": sorted(scopes_in(token.scopes)),
        "state": tokens.state_of(token, at).value,
        "created_at": _iso(token.created_at),
        "expires_at": _iso(token.expires_at),
        "last_used_at": _iso(token.last_used_at),
        "revoked_at": _iso(token.revoked_at),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")
