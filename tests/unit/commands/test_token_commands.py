"""`nightread tokens`: make, list and revoke API tokens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.filling import known_reader
from tests.ledgers import current_ledger
from worker.commands import tokens as commands
from worker.commands import users as people
from worker.config import Settings
from worker.ledger import actors, tokens, users
from worker.ledger.roles import Role, Scope
from worker.ledger.session import Ledger, utc_now
from worker.ledger.tables import AuditEvent


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with a reader."""
    opened = current_ledger(Settings(data=tmp_path).database)
    known_reader(opened, "Ada")
    return opened


def add(ledger: Ledger, name: str = "import script") -> dict[str, object]:
    return commands.add(ledger, owner="Ada", name=name, scopes=[Scope.IMAGES_WRITE], days=7)


def test_key_of_a_new_token_works_and_is_in_no_list(ledger: Ledger) -> None:
    document = add(ledger)
    with ledger.reading() as session:
        token = tokens.authenticate(session, str(document["key"]), utc_now())
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "token_added")).one()
    assert token.id == document["token"]
    assert event.actor == f"os:{os.getuid()}"
    (listed,) = commands.listed(ledger)
    assert listed == {name: value for name, value in document.items() if name != "key"}
    assert (listed["owner"], listed["scopes"], listed["state"]) == ("Ada", ["images:write"], "valid")


def test_list_says_what_each_token_is(ledger: Ledger) -> None:
    assert commands.as_text(commands.listed(ledger)) == "There are no tokens."
    add(ledger)
    document = add(ledger, "another")
    assert commands.revoke(ledger, [2]) == []
    text = commands.as_text(commands.listed(ledger))
    newest, oldest = text.splitlines()
    assert "revoked" in newest
    assert "valid, expires " in oldest
    assert oldest.endswith("never used; images:write; import script (Ada)")
    assert str(document["key"]) not in text


def test_unknown_token_is_named_and_the_others_are_revoked(ledger: Ledger) -> None:
    add(ledger)
    assert commands.revoke(ledger, [9, 1]) == ["There is no token 9."]
    assert [document["state"] for document in commands.listed(ledger)] == ["revoked"]


def test_unknown_owner_is_refused_with_a_sentence(ledger: Ledger) -> None:
    with pytest.raises(LookupError) as refused:
        commands.add(ledger, owner="Eve", name="x", scopes=[Scope.METRICS], days=1)
    assert "'Eve'" in str(refused.value)


def test_disabled_person_loses_their_tokens_for_ever(ledger: Ledger, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with ledger.transaction() as session:
        users.add(session, "Boss", {Role.ADMINISTRATOR}, actor=actors.PROGRAM, at=utc_now())
    key = str(add(ledger)["key"])
    people.disable(settings, "Ada")
    people.enable(settings, "Ada")
    with ledger.reading() as session, pytest.raises(tokens.InvalidToken, match="revoked"):
        tokens.authenticate(session, key, utc_now())
