"""worker.ledger.users: names, roles, and the last administrator."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from tests.filling import AT, later
from worker.ledger import audit, passphrases, second_factors, users
from worker.ledger.comparison import compare
from worker.ledger.roles import Role
from worker.ledger.session import Ledger
from worker.ledger.tables import User
from worker.ledger.users import UNNAMED, UserRefused

ACTOR = "os:1000"


@pytest.fixture
def session(ledger: Ledger) -> Iterator[Session]:
    with ledger.transaction() as opened:
        yield opened


def add(session: Session, name: str, *roles: Role) -> User:
    return users.add(session, name, roles or (Role.READER,), actor=ACTOR, at=AT)


def test_person_has_name_and_roles(session: Session) -> None:
    ada = add(session, " Ada  Night ", Role.VIEWER, Role.AUDITOR)
    assert (ada.name, ada.roles, ada.disabled_at) == ("Ada Night", "auditor,viewer", None)
    assert users.find(session, "Ada Night") is ada
    with pytest.raises(LookupError, match="no person"):
        users.find(session, "Ben")


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x1bb", "(erased 1)", UNNAMED, "a\u202eb"])
def test_invalid_name_is_refused(session: Session, name: str) -> None:
    with pytest.raises(UserRefused, match="a name of 1 to 100"):
        add(session, name)


def test_name_is_given_once(session: Session) -> None:
    add(session, "Ada")
    ben = add(session, "Ben")
    for taken in ("Ada", "ada"):
        with pytest.raises(UserRefused, match="somebody has this name already"):
            add(session, taken)
        with pytest.raises(UserRefused, match="somebody has this name already"):
            users.rename(session, ben, taken, actor=ACTOR, at=AT)
    users.rename(session, ben, "BEN", actor=ACTOR, at=AT)
    assert ben.name == "BEN"


@pytest.mark.parametrize(
    ("name", "typed"), [("Özlem Kaya", "özlem kaya"), ("Łukasz", "ŁUKASZ"), ("Émile", "émile")]
)
def test_letters_beyond_ascii_have_two_cases_too(session: Session, name: str, typed: str) -> None:
    """SQLite's lower() leaves them as they are."""
    user = add(session, name)
    for taken in (name, typed):
        assert users.find_any_case(session, taken) is user
        assert not users.is_free(session, taken)
        with pytest.raises(UserRefused, match="somebody has this name already"):
            add(session, taken)
    assert users.is_free(session, typed, user.id)


def test_people_are_in_the_order_of_their_names_in_any_case(session: Session) -> None:
    for name in ("ben", "Özlem", "Ada", "öhm"):
        add(session, name)
    assert [user.name for user in users.everybody(session)][-4:] == ["Ada", "ben", "öhm", "Özlem"]


def test_first_administrator_is_added_once(ledger: Ledger) -> None:
    def first(_: int) -> int:
        with ledger.transaction() as session:
            first = users.first_administrator(session, AT)
            assert first is not None
            return first.id

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(first, range(4)))) == 1
    with ledger.reading() as session:
        (only,) = users.everybody(session)
        assert (only.name, only.roles) == (UNNAMED, "administrator,reader")


def test_first_administrator_is_who_has_the_role(session: Session) -> None:
    add(session, "Ada")
    ben = add(session, "Ben", Role.ADMINISTRATOR)
    assert users.first_administrator(session, AT) is ben


def test_administrator_with_a_passphrase_can_sign_in(session: Session) -> None:
    ada, ben = add(session, "Ada", Role.ADMINISTRATOR), add(session, "Ben")
    passphrases.set_hash(session, ben, "hash", actor=ACTOR, at=AT)
    assert not users.an_administrator_can_sign_in(session)
    users.set_roles(session, ben, {Role.ADMINISTRATOR}, actor=ACTOR, at=AT)
    assert users.an_administrator_can_sign_in(session)
    users.disable(session, ben, actor=ACTOR, at=AT)
    assert not users.an_administrator_can_sign_in(session)
    assert ada.passphrase_hash is None


def test_administrator_with_a_passkey_can_sign_in(session: Session) -> None:
    ada = add(session, "Ada", Role.ADMINISTRATOR)
    key = second_factors.add_passkey(
        session, ada, name="Phone", credential_id="abc", public_key=b"k", sign_count=0, actor=ACTOR, at=AT
    )
    assert users.an_administrator_can_sign_in(session)
    with pytest.raises(UserRefused, match="was added before"):
        second_factors.add_passkey(
            session, ada, name="Key", credential_id="abc", public_key=b"k", sign_count=0, actor=ACTOR, at=AT
        )
    second_factors.remove_passkey(session, key, actor=ACTOR, at=AT)
    assert not users.an_administrator_can_sign_in(session)


def test_last_administrator_keeps_role_and_access(session: Session) -> None:
    ada = add(session, "Ada", Role.ADMINISTRATOR)
    ben = add(session, "Ben", Role.ADMINISTRATOR)
    users.disable(session, ben, actor=ACTOR, at=AT)
    with pytest.raises(UserRefused, match="the only administrator"):
        users.disable(session, ada, actor=ACTOR, at=AT)
    with pytest.raises(UserRefused, match="the only administrator"):
        users.set_roles(session, ada, {Role.READER}, actor=ACTOR, at=AT)
    users.enable(session, ben, actor=ACTOR, at=AT)
    users.set_roles(session, ada, {Role.READER}, actor=ACTOR, at=AT)
    assert users.enabled_with(session, Role.ADMINISTRATOR) == [ben]


def test_person_needs_a_role(session: Session) -> None:
    ada = add(session, "Ada")
    with pytest.raises(UserRefused, match="needs a role"):
        users.set_roles(session, ada, set(), actor=ACTOR, at=AT)
    with pytest.raises(UserRefused, match="needs a role"):
        users.add(session, "Ben", set(), actor=ACTOR, at=AT)


def test_trail_proves_names_roles_and_access(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        ada, _ = add(session, "Ada"), add(session, "Ben", Role.ADMINISTRATOR)
        users.rename(session, ada, "Ada Night", actor=ACTOR, at=later(1))
        users.set_roles(session, ada, {Role.VIEWER}, actor=ACTOR, at=later(2))
        users.disable(session, ada, actor=ACTOR, at=later(3))
    with ledger.reading() as session:
        assert audit.verify(session).ok
        assert compare(session).mismatches == []
    for column, value in (("name", "Eve"), ("roles", "administrator"), ("disabled_at", None)):
        with ledger.transaction() as session:
            before = getattr(session.get_one(User, 1), column)
            setattr(session.get_one(User, 1), column, value)
        with ledger.reading() as session:
            assert [(found.subject, found.what) for found in compare(session).mismatches] == [
                ("user:1", column)
            ]
        with ledger.transaction() as session:
            setattr(session.get_one(User, 1), column, before)


def test_change_to_the_same_is_no_event(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        ada = add(session, "Ada")
        before = audit.head(session)
        users.rename(session, ada, "Ada", actor=ACTOR, at=AT)
        users.set_roles(session, ada, {Role.READER}, actor=ACTOR, at=AT)
        users.enable(session, ada, actor=ACTOR, at=AT)
        assert audit.head(session) == before
