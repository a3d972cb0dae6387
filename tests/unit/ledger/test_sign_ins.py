"""worker.ledger.sign_ins: keys at rest, one use, and races."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.filling import AT, DAY, SESSION_LIMITS, known_reader, later
from worker.ledger import actors, audit, sign_in_reset, sign_ins, users
from worker.ledger.roles import Role
from worker.ledger.session import Ledger
from worker.ledger.sign_ins import Method
from worker.ledger.tables import AuditEvent, BrowserSession, SignInLink, User
from worker.ledger.users import UserRefused
from worker.session_limits import Limits, SessionLimits

ADMINISTRATOR = "user:9"


def started(ledger: Ledger, user_id: int, browser: str = "Firefox") -> str:
    with ledger.transaction() as session:
        user = session.get_one(User, user_id)
        return sign_ins.start(session, user, Method.LINK, address="::1", browser=browser, at=AT)[1]


def found(ledger: Ledger, key: str, at: timedelta = timedelta()) -> BrowserSession | None:
    with ledger.reading() as session:
        return sign_ins.find(session, key, SESSION_LIMITS, AT + at)


def test_session_is_found_by_its_key_only(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    key = started(ledger, ada)
    session = found(ledger, key)
    assert session is not None
    assert (session.user_id, session.method, session.address, session.browser) == (
        ada,
        "link",
        "::1",
        "Firefox",
    )
    for wrong in ("", key[:-1], key + "a", session.key_sha256, "\x00", "\ud800"):
        assert found(ledger, wrong) is None


def test_keys_differ_and_are_long(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    keys = {started(ledger, ada) for _ in range(5)}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {43}, "256 bits in base64"


def test_name_of_the_browser_is_cut_and_cleaned(ledger: Ledger) -> None:
    session = found(ledger, started(ledger, known_reader(ledger), "A\x1b[31m\n" + "x" * 500))
    assert session is not None
    assert session.browser == "A[31m" + "x" * 195


@pytest.mark.parametrize(("role", "last"), [(Role.READER, 7 * DAY), (Role.ADMINISTRATOR, DAY)])
def test_session_ends_after_its_longest_time(ledger: Ledger, role: Role, last: timedelta) -> None:
    with ledger.transaction() as session:
        user_id = users.add(session, "Ada", {role}, actor=actors.PROGRAM, at=AT).id
    key = started(ledger, user_id)
    with ledger.transaction() as session:
        sign_ins.mark_seen(session, 1, AT + last - timedelta(hours=1))
    assert found(ledger, key, last - timedelta(seconds=1)) is not None
    assert found(ledger, key, last) is None


def test_session_is_marked_once_a_minute(ledger: Ledger) -> None:
    session = found(ledger, started(ledger, known_reader(ledger)))
    assert session is not None
    assert not sign_ins.must_be_marked(session, AT + timedelta(seconds=59))
    assert sign_ins.must_be_marked(session, AT + timedelta(seconds=60))


def test_link_is_used_once_by_many_at_the_same_time(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    with ledger.transaction() as session:
        key = sign_ins.make_link(session, session.get_one(User, ada), actor=actors.PROGRAM, at=AT)

    def use(_: int) -> bool:
        with ledger.transaction() as session:
            link = sign_ins.find_link(session, key, later(1), lock=True)
            if link is not None:
                link.used_at = later(1)
            return link is not None

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(use, range(4))) == 1


def test_ledger_holds_no_key(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    key = started(ledger, ada)
    with ledger.transaction() as session:
        link = sign_ins.make_link(session, session.get_one(User, ada), actor=actors.PROGRAM, at=AT)
    with ledger.reading() as session:
        rows = [*session.scalars(select(BrowserSession)), *session.scalars(select(SignInLink))]
        stored = [str(vars(row)) for row in rows]
        written = [str(vars(event)) for event in session.scalars(select(AuditEvent))]
        assert audit.verify(session).ok
    assert not [text for text in stored + written if key in text or link in text]
    assert not [text for text in written if "Firefox" in text or "::1" in text]


def test_disabling_ends_every_session_and_link(ledger: Ledger) -> None:
    ada = known_reader(ledger)
    keys = [started(ledger, ada), started(ledger, ada)]
    with ledger.transaction() as session:
        user = session.get_one(User, ada)
        link = sign_ins.make_link(session, user, actor=actors.PROGRAM, at=AT)
        sign_ins.keep_out(session, user, SESSION_LIMITS, actor="user:9", at=AT)
        with pytest.raises(UserRefused, match="this person is disabled"):
            sign_ins.make_link(session, user, actor="user:9", at=AT)
        users.enable(session, user, actor="user:9", at=AT)
    assert [found(ledger, key) for key in keys] == [None, None], "enabling starts no session again"
    with ledger.reading() as session:
        assert sign_ins.find_link(session, link, AT) is None


def end_one_by_one(session: Session, user: User, at: datetime) -> None:
    ended = [
        sign_ins.end(session, number, SESSION_LIMITS, user_id=user.id, actor=ADMINISTRATOR, at=at)
        for number in (1, 2)
    ]
    assert ended == [False, True]


def end_all(session: Session, user: User, at: datetime) -> None:
    assert sign_ins.end_all(session, user, SESSION_LIMITS, actor=ADMINISTRATOR, at=at) == 1


def keep_out(session: Session, user: User, at: datetime) -> None:
    sign_ins.keep_out(session, user, SESSION_LIMITS, actor=ADMINISTRATOR, at=at)
    users.enable(session, user, actor=ADMINISTRATOR, at=at)


def reset(session: Session, user: User, at: datetime) -> None:
    sign_in_reset.reset(session, user, SESSION_LIMITS, actor=ADMINISTRATOR, at=at)


@pytest.mark.parametrize("ending", [end_one_by_one, end_all, keep_out, reset])
def test_session_that_ran_out_is_not_recorded_as_ended_now(
    ledger: Ledger, ending: Callable[[Session, User, datetime], None]
) -> None:
    ada, at = known_reader(ledger), AT + 2 * DAY
    ran_out = started(ledger, ada)
    with ledger.transaction() as session:
        user = session.get_one(User, ada)
        sign_ins.start(session, user, Method.LINK, address="::1", browser="Firefox", at=at)
    with ledger.transaction() as session:
        ending(session, session.get_one(User, ada), at)
    with ledger.reading() as session:
        ended = session.scalars(select(AuditEvent.payload).where(AuditEvent.kind == "session_ended"))
        assert [json.loads(payload)["session"] for payload in ended] == [2]
        longer = Limits(90 * DAY, 90 * DAY)
        limits = SessionLimits(longer, longer)
        assert sign_ins.find(session, ran_out, limits, at) is None, "longer limits start no session again"
