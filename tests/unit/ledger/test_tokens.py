"""worker.ledger.tokens: keys with which programs act for their owners."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from tests.filling import AT, assert_consistent, later
from worker.ledger import actors, tokens, users
from worker.ledger.roles import Role, Scope, scopes_of
from worker.ledger.session import Ledger
from worker.ledger.tables import ApiToken, AuditEvent, User
from worker.ledger.tokens import InvalidToken, NewToken, TokenRefused, TokenState

DAY_S = 86_400


def add_person(ledger: Ledger, name: str, role: Role) -> int:
    with ledger.transaction() as session:
        return users.add(session, name, {role}, actor=actors.PROGRAM, at=AT).id


def set_role(ledger: Ledger, user_id: int, role: Role) -> None:
    with ledger.transaction() as session:
        user = session.get_one(User, user_id)
        users.set_roles(session, user, {role}, actor=actors.PROGRAM, at=AT)


def disable(ledger: Ledger, user_id: int) -> None:
    with ledger.transaction() as session:
        users.disable(session, session.get_one(User, user_id), actor=actors.PROGRAM, at=AT)


@pytest.fixture
def ada(ledger: Ledger) -> int:
    """The id of a reader."""
    return add_person(ledger, "Ada", Role.READER)


def add(
    ledger: Ledger,
    owner_id: int,
    *scopes: Scope,
    name: str = "import script",
    days: int = 90,
) -> NewToken:
    with ledger.transaction() as session:
        return tokens.add(
            session,
            owner_id=owner_id,
            name=name,
            scopes=scopes or (Scope.IMAGES_READ,),
            days=days,
            actor="os:0",
            at=AT,
        )


def authenticated(ledger: Ledger, key: str, at: datetime = AT) -> ApiToken:
    with ledger.reading() as session:
        return tokens.authenticate(session, key, at)


def revoke(ledger: Ledger, token_id: int, owner_id: int | None = None) -> None:
    with ledger.transaction() as session:
        tokens.revoke(session, token_id, actor="user:1", at=later(60), owner_id=owner_id)


def test_key_is_recognisable_and_random() -> None:
    keys = {tokens.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch("nr_[0-9a-f]{64}", key) for key in keys)


def test_key_opens_its_token(ledger: Ledger, ada: int) -> None:
    first, second = add(ledger, ada), add(ledger, ada, name="another")
    assert authenticated(ledger, first.key).id == first.token.id
    assert authenticated(ledger, second.key).owner.name == "Ada"
    assert_consistent(ledger)


def test_no_table_holds_the_key(ledger: Ledger, ada: int) -> None:
    new = add(ledger, ada)
    with ledger.reading() as session:
        rows = [str(vars(row)) for table in (ApiToken, AuditEvent) for row in session.scalars(select(table))]
    assert len(rows) > 2
    assert not [row for row in rows if new.key in row or new.key.removeprefix("nr_") in row]


def test_name_stands_in_the_trail_as_a_seal_only(ledger: Ledger, ada: int) -> None:
    add(ledger, ada, name="for DOE^JOHN")
    with ledger.reading() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "token_added")).one()
    assert (event.actor, event.subject) == ("os:0", "api_token:1")
    assert "DOE" not in event.payload
    assert "name_seal" in event.payload


@pytest.mark.parametrize("key", ["", "nr_", "nr_" + "0" * 64, "\x00", "\ud800", "é" * 5000])
def test_unknown_key_is_refused(ledger: Ledger, ada: int, key: str) -> None:
    add(ledger, ada)
    with pytest.raises(InvalidToken, match="does not know"):
        authenticated(ledger, key)


def test_key_in_another_spelling_is_refused(ledger: Ledger, ada: int) -> None:
    key = add(ledger, ada).key
    for other in (key.upper(), key + " ", key[:-1], key.removeprefix("nr_")):
        with pytest.raises(InvalidToken):
            authenticated(ledger, other)


def test_token_expires(ledger: Ledger, ada: int) -> None:
    new = add(ledger, ada, days=1)
    assert authenticated(ledger, new.key, later(DAY_S - 1))
    with pytest.raises(InvalidToken, match="expired"):
        authenticated(ledger, new.key, later(DAY_S))


def test_revoked_token_ends_at_once_and_once(ledger: Ledger, ada: int) -> None:
    new, other = add(ledger, ada), add(ledger, ada)
    revoke(ledger, new.token.id)
    revoke(ledger, new.token.id)
    with pytest.raises(InvalidToken, match="revoked"):
        authenticated(ledger, new.key)
    assert authenticated(ledger, other.key)
    with ledger.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.kind == "token_revoked")).all()
    assert [(event.actor, event.subject) for event in events] == [("user:1", f"api_token:{new.token.id}")]
    assert_consistent(ledger)


def test_only_the_owner_or_everybody_may_be_named_to_revoke(ledger: Ledger, ada: int) -> None:
    ben = add_person(ledger, "Ben", Role.READER)
    new = add(ledger, ada)
    with pytest.raises(LookupError, match="no token 1"):
        revoke(ledger, new.token.id, owner_id=ben)
    with pytest.raises(LookupError, match="no token 99"):
        revoke(ledger, 99)
    assert authenticated(ledger, new.key)
    revoke(ledger, new.token.id, owner_id=ada)
    with pytest.raises(InvalidToken):
        authenticated(ledger, new.key)


def test_all_tokens_of_a_person_end_together(ledger: Ledger, ada: int) -> None:
    ben = add_person(ledger, "Ben", Role.READER)
    new, other, bens = (add(ledger, owner) for owner in (ada, ada, ben))
    revoke(ledger, other.token.id)
    with ledger.transaction() as session:
        tokens.revoke_all(session, ada, actor="os:0", at=later(90))
    with pytest.raises(InvalidToken, match="revoked"):
        authenticated(ledger, new.key)
    assert authenticated(ledger, bens.key)
    with ledger.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.kind == "token_revoked")).all()
    assert [event.actor for event in events] == ["user:1", "os:0"]
    assert_consistent(ledger)


def test_token_of_a_disabled_user_is_refused(ledger: Ledger, ada: int) -> None:
    key = add(ledger, ada).key
    disable(ledger, ada)
    with pytest.raises(InvalidToken, match="owner"):
        authenticated(ledger, key)
    with pytest.raises(TokenRefused, match="disabled"):
        add(ledger, ada)


def test_token_never_allows_more_than_its_owner_may_do_now(ledger: Ledger, ada: int) -> None:
    key = add(ledger, ada, Scope.IMAGES_READ, Scope.IMAGES_WRITE).key
    assert tokens.granted(authenticated(ledger, key)) == {Scope.IMAGES_READ, Scope.IMAGES_WRITE}
    set_role(ledger, ada, Role.VIEWER)
    assert tokens.granted(authenticated(ledger, key)) == {Scope.IMAGES_READ}
    set_role(ledger, ada, Role.ADJUDICATOR)
    assert tokens.granted(authenticated(ledger, key)) == {Scope.IMAGES_READ, Scope.IMAGES_WRITE}


@pytest.mark.parametrize("role", Role)
def test_owner_gives_only_scopes_of_their_roles(ledger: Ledger, role: Role) -> None:
    owner = add_person(ledger, "Eve", role)
    for scope in Scope:
        if scope in scopes_of([role]):
            assert add(ledger, owner, scope).token.scopes == scope
        else:
            with pytest.raises(TokenRefused, match=f"do not allow the scope {scope}"):
                add(ledger, owner, scope)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": " "}, "1 to 100"),
        ({"name": "x" * 101}, "1 to 100"),
        ({"name": "a\x00b"}, "printable"),
        ({"days": 0}, "1 to 365 days"),
        ({"days": 366}, "1 to 365 days"),
        ({"days": -(10**30)}, "1 to 365 days"),
    ],
)
def test_bad_value_is_refused(ledger: Ledger, ada: int, values: dict[str, object], sentence: str) -> None:
    with pytest.raises(TokenRefused, match=sentence):
        add(ledger, ada, **values)  # type: ignore[arg-type]
    with ledger.reading() as session:
        assert tokens.listed(session) == []


def test_token_without_a_scope_or_an_owner_is_refused(ledger: Ledger, ada: int) -> None:
    with ledger.transaction() as session:
        values = {"name": "x", "days": 1, "actor": "os:0", "at": AT}
        with pytest.raises(TokenRefused, match="at least one scope"):
            tokens.add(session, owner_id=ada, scopes=[], **values)  # type: ignore[arg-type]
        with pytest.raises(LookupError, match="no person 99"):
            tokens.add(session, owner_id=99, scopes=[Scope.METRICS], **values)  # type: ignore[arg-type]


def test_last_use_is_due_once_a_minute(ledger: Ledger, ada: int) -> None:
    new = add(ledger, ada)
    assert tokens.use_is_due(authenticated(ledger, new.key), AT)
    with ledger.transaction(without_fsync=True) as session:
        tokens.record_use(session, new.token.id, AT)
    used = authenticated(ledger, new.key)
    assert used.last_used_at == AT
    assert not tokens.use_is_due(used, AT + timedelta(seconds=59))
    assert tokens.use_is_due(used, AT + timedelta(seconds=60))
    assert_consistent(ledger)


def test_list_is_newest_first_and_may_be_of_one_owner(ledger: Ledger, ada: int) -> None:
    ben = add_person(ledger, "Ben", Role.VIEWER)
    first, second, third = (add(ledger, owner).token.id for owner in (ada, ben, ada))
    with ledger.reading() as session:
        assert [token.id for token in tokens.listed(session)] == [third, second, first]
        assert [token.id for token in tokens.listed(session, owner_id=ada)] == [third, first]
        assert [token.id for token in tokens.listed(session, before=third, limit=1)] == [second]
        states = [tokens.state_of(token, later(91 * DAY_S)) for token in tokens.listed(session)]
    assert states == [TokenState.EXPIRED] * 3
