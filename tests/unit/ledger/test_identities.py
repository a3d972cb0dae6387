"""worker.ledger.identities: people of the hospital's sign-in service, and the roles that it gives them."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from sqlalchemy import func, select, update

from tests.filling import AT, DAY, SESSION_LIMITS, later
from worker.ledger import actors, audit, identities, passphrases, sign_ins, users
from worker.ledger.comparison import compare
from worker.ledger.roles import Role, roles_of
from worker.ledger.session import Ledger
from worker.ledger.sign_ins import Method
from worker.ledger.tables import AuditEvent, ProviderIdentity, User
from worker.ledger.users import UserRefused

ISSUER, SUBJECT = "https://id.hospital.example", "248289761001"


def arrive(
    ledger: Ledger,
    subject: str = SUBJECT,
    *,
    issuer: str = ISSUER,
    names: tuple[str, ...] = ("Ada Night",),
    roles: Collection[Role] = (Role.READER,),
    at: datetime = AT,
) -> User | None:
    with ledger.transaction() as session:
        return identities.arrive(
            session, issuer, subject, names=names, roles=roles, limits=SESSION_LIMITS, at=at
        )


def known(person: User | None) -> User:
    assert person is not None
    return person


def test_same_identity_is_the_same_person(ledger: Ledger) -> None:
    first = known(arrive(ledger))
    again = known(arrive(ledger, names=("Ada Morning",)))
    assert (again.id, again.name) == (first.id, "Ada Night")


@pytest.mark.parametrize("other", [{"subject": "other"}, {"issuer": "https://other.example"}])
def test_another_subject_or_issuer_is_another_person(ledger: Ledger, other: dict[str, str]) -> None:
    first = known(arrive(ledger))
    second = known(arrive(ledger, **other))  # type: ignore[arg-type]
    assert second.id != first.id
    assert second.name == "Ada Night (2)"


@pytest.mark.parametrize(("local", "theirs"), [("ada night", "Ada Night"), ("Özlem Kaya", "özlem kaya")])
def test_account_of_the_same_name_stays_apart(ledger: Ledger, local: str, theirs: str) -> None:
    with ledger.transaction() as session:
        first = users.add(session, local, {Role.ADMINISTRATOR}, actor="os:0", at=AT)
    second = known(arrive(ledger, names=(theirs,)))
    assert second.id != first.id
    assert (second.name, second.roles) == (f"{theirs} (2)", Role.READER)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ((), "Colleague"),
        (("", "  ", "(unnamed)", "a\x00\x1b"), "Colleague"),
        (("\ud800", "ada.night"), "ada.night"),
        (("x" * 500,), "x" * 90),
    ],
)
def test_name_of_the_service_is_used_if_it_can_be(ledger: Ledger, names: tuple[str, ...], name: str) -> None:
    assert known(arrive(ledger, names=names)).name == name


def test_roles_are_those_of_the_last_sign_in(ledger: Ledger) -> None:
    arrive(ledger, roles={Role.READER, Role.ADJUDICATOR})
    person = known(arrive(ledger, roles={Role.AUDITOR}))
    assert roles_of(person.roles) == {Role.AUDITOR}


def test_unknown_person_without_a_role_is_not_added(ledger: Ledger) -> None:
    assert arrive(ledger, roles=()) is None
    with ledger.reading() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 0


def test_person_without_a_group_loses_roles_and_sessions(ledger: Ledger) -> None:
    """Even the only administrator: whoever left the group has left."""
    person = known(arrive(ledger, roles={Role.ADMINISTRATOR}))
    with ledger.transaction() as session:
        person = session.get_one(User, person.id)
        key = sign_ins.start(session, person, Method.PROVIDER, address="", browser="", at=AT)[1]
        link = sign_ins.make_link(session, person, actor="os:0", at=AT)
    assert roles_of(known(arrive(ledger, roles=())).roles) == frozenset()
    with ledger.reading() as session:
        assert sign_ins.find(session, key, SESSION_LIMITS, AT) is None
        assert sign_ins.find_link(session, link, AT) is None


def test_session_of_an_administrator_that_ran_out_ends_without_an_event(ledger: Ledger) -> None:
    person = known(arrive(ledger, roles={Role.ADMINISTRATOR}))
    with ledger.transaction() as session:
        sign_ins.start(
            session, session.get_one(User, person.id), Method.PROVIDER, address="", browser="", at=AT
        )
    arrive(ledger, roles=(), at=AT + DAY / 2)
    with ledger.reading() as session:
        assert not session.scalars(select(AuditEvent).where(AuditEvent.kind == "session_ended")).all()


def test_disabled_person_stays_disabled(ledger: Ledger) -> None:
    person = known(arrive(ledger))
    with ledger.transaction() as session:
        users.disable(session, session.get_one(User, person.id), actor="user:1", at=AT)
    assert known(arrive(ledger)).disabled_at == AT


def test_administrator_cannot_change_roles_of_the_service(ledger: Ledger) -> None:
    person = known(arrive(ledger))
    with ledger.transaction() as session:
        user = session.get_one(User, person.id)
        users.set_roles(session, user, {Role.READER}, actor="user:1", at=AT)
        with pytest.raises(UserRefused, match="sign-in service"):
            users.set_roles(session, user, {Role.ADMINISTRATOR}, actor="user:1", at=AT)


def test_person_of_the_service_gets_no_passphrase(ledger: Ledger) -> None:
    person = known(arrive(ledger))
    with ledger.transaction() as session:
        user = session.get_one(User, person.id)
        with pytest.raises(UserRefused, match="sign-in service"):
            passphrases.set_hash(session, user, "a hash", actor="os:0", at=AT)


def test_one_person_arriving_twice_at_once_is_added_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = {known(person).id for person in pool.map(lambda _: arrive(ledger), range(4))}
    assert len(ids) == 1


def test_trail_proves_whose_identity_it_is(ledger: Ledger) -> None:
    arrive(ledger)
    arrive(ledger, "other")
    with ledger.transaction() as session:
        assert compare(session).mismatch_count == 0
        thief = users.add(session, "Thief", {Role.READER}, actor="os:0", at=AT)
        changes: dict[int, dict[str, object]] = {
            1: {"subject": "stolen"},
            2: {"user_id": thief.id, "added_at": later(5)},
        }
        for row_id, values in changes.items():
            session.execute(update(ProviderIdentity).where(ProviderIdentity.id == row_id).values(values))
        found = {(mismatch.subject, mismatch.what) for mismatch in compare(session).mismatches}
        session.rollback()
    assert found == {("identity:1", "subject"), ("identity:2", "user_id"), ("identity:2", "added_at")}


def test_trail_holds_neither_name_nor_subject(ledger: Ledger) -> None:
    arrive(ledger)
    arrive(ledger, roles=())
    with ledger.reading() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.seq)).all()
        assert audit.verify(session).ok
    assert [event.kind for event in events] == ["user_added", "identity_added", "user_roles_set"]
    assert {event.actor for event in events} == {actors.PROGRAM}
    text = " ".join(event.payload for event in events)
    assert not any(secret in text for secret in (ISSUER, SUBJECT, "Ada"))
