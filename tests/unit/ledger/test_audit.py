from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.filling import AT, NOT_AN_IMAGE, arrival, fill, receive, score
from worker.ledger import actors, audit, leases, review, users
from worker.ledger.audit import Event, Verification
from worker.ledger.findings import Finding, Statement
from worker.ledger.roles import Role
from worker.ledger.session import Ledger, utc_now
from worker.ledger.tables import AuditEvent, ChainHead, User


def verified(ledger: Ledger) -> Verification:
    with ledger.reading() as session:
        return audit.verify(session)


def events(ledger: Ledger) -> list[AuditEvent]:
    with ledger.reading() as session:
        return list(session.scalars(select(AuditEvent).order_by(AuditEvent.seq)))


def do_harm(ledger: Ledger, *statements: str) -> None:
    """Do what somebody with the database password can do: drop the triggers, then run any statement."""
    with ledger.transaction() as session:
        if session.get_bind().dialect.name == "sqlite":
            for verb in ("update", "delete"):
                session.execute(text(f"DROP TRIGGER audit_event_keeps_{verb}"))
        else:
            session.execute(text("DROP TRIGGER audit_event_keeps ON audit_event"))
        for statement in statements:
            session.execute(text(statement))


def test_payload_has_one_canonical_text() -> None:
    payload = {"b": 1, "a": {"d": 0.1, "c": [1 / 3, True, None]}, "ä": "π"}
    assert audit.canonical(payload) == '{"a":{"c":["0.333333",true,null],"d":"0.100000"},"b":1,"ä":"π"}'
    assert audit.canonical(dict(reversed(payload.items()))) == audit.canonical(payload)


def test_digest_accepts_text_that_is_not_valid_unicode() -> None:
    assert audit.digest("why") == hashlib.sha256(b"why").hexdigest()
    assert len(audit.digest("\udc80")) == 64


def test_each_event_carries_the_previous_hash(ledger: Ledger) -> None:
    fill(ledger, 1, 2, 3)
    previous = "0" * 64
    for number, event in enumerate(events(ledger), start=1):
        fields = [previous, number, event.at, event.kind, event.actor, event.subject, event.payload]
        assert (event.seq, event.previous) == (number, previous)
        # Written out in full, because another program must be able to verify the chain.
        assert event.hash == hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
        previous = event.hash
    with ledger.reading() as session:
        head = session.scalars(select(ChainHead)).one()
        assert (head.seq, head.hash) == (4, previous)


def test_hash_covers_text_in_any_script_and_invalid_unicode(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        audit.append(session, [Event("test", "Zoë 夜", "image:1", {"code": "ä", "share": 0.5})], AT)
    (event,) = events(ledger)
    assert event.payload == '{"code":"ä","share":"0.500000"}'
    fields = [event.previous, 1, event.at, "test", "Zoë 夜", "image:1", event.payload]
    assert event.hash == hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode("utf-8")).hexdigest()
    link_text = '["0", 2, "at", "kind", "\udc80", "it", "{}"]'
    expected = hashlib.sha256(link_text.encode("utf-8", "surrogatepass")).hexdigest()
    assert audit._link("0", 2, "at", "kind", "\udc80", "it", "{}") == expected
    awkward = ["\"'\\/", 3, "\n\r\t\b\f", "\x00\x1f\x7f", "\u2028 夜", "", '{"name":"\\u00e4"}']
    link_text = json.dumps(awkward, ensure_ascii=False)
    assert audit._link(*awkward) == hashlib.sha256(link_text.encode()).hexdigest()  # type: ignore[arg-type]


def test_event_has_the_given_time_else_the_present_one(ledger: Ledger) -> None:
    before = utc_now()
    with ledger.transaction() as session:
        audit.append(session, [Event("test", "me", "it", {})], AT)
        audit.append(session, [Event("test", "me", "it", {})])
    given, present = (datetime.fromisoformat(event.at) for event in events(ledger))
    assert given == AT
    assert before <= present <= utc_now()


def test_sequence_numbers_continue_from_the_head(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        head = audit.lock(session)
        head.seq, head.hash = 7, "7" * 64
        audit.append(session, [Event("test", "me", "it", {})], AT)
    (event,) = events(ledger)
    assert (event.seq, event.previous) == (8, "7" * 64)


def test_head_and_hash_of_give_the_last_and_any_event(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert audit.head(session) == (0, "0" * 64)
    fill(ledger, 1, 2)
    *_, first, last = events(ledger)
    with ledger.reading() as session:
        assert audit.head(session) == (last.seq, last.hash)
        assert audit.hash_of(session, first.seq) == first.hash
        assert audit.hash_of(session, last.seq + 1) is None


def test_failed_verification_gives_the_intact_part(ledger: Ledger) -> None:
    fill(ledger, 1, 2, 3)
    second = events(ledger)[1]
    do_harm(ledger, "DELETE FROM audit_event WHERE seq = 4")
    with ledger.reading() as session:
        third = audit.hash_of(session, 3)
    assert verified(ledger) == Verification(ok=False, events=3, first_bad=4, head=third or "")
    with ledger.transaction() as session:
        session.execute(text("UPDATE audit_event SET actor = 'nobody' WHERE seq = 3"))
    assert verified(ledger) == Verification(ok=False, events=2, first_bad=3, head=second.hash)


def test_empty_audit_trail_is_intact(ledger: Ledger) -> None:
    assert verified(ledger) == Verification(ok=True, events=0, first_bad=None, head="0" * 64)


def test_rollback_leaves_no_event(ledger: Ledger) -> None:
    def fail(session: Session) -> None:
        audit.append(session, [Event("test", "me", "it", {})], AT)
        raise RuntimeError

    with pytest.raises(RuntimeError), ledger.transaction() as session:
        fail(session)
    assert verified(ledger).events == 0


def test_audit_trail_holds_nothing_that_a_person_typed(ledger: Ledger) -> None:
    """Neither as text nor as a hash that somebody could find by guessing the text."""
    typed = ["DOE^JOHN 1950.jpg", "Dr Renamed", "Sister Ada", "left base", "sent again", "Monday's run"]
    name, sender, reader, note, why, run = typed
    with ledger.transaction() as session:
        bad = replace(arrival(1, name=name, rejection=NOT_AN_IMAGE), received_by="user:1")
        receive(session, bad, arrival(2), run=run)
        reader_id = users.add(session, reader, {Role.READER}, actor=actors.PROGRAM, at=AT).id
        users.rename(session, session.get_one(User, reader_id), sender, actor=actors.PROGRAM, at=AT)
        leases.retry(session, 1, who=f"user:{reader_id}", why=why, at=AT)
    score(ledger, [2])
    with ledger.transaction() as session:
        review.decide(session, 2, reader_id=reader_id, statement=Statement(Finding.SIGNS, note=note), at=AT)
    written = json.dumps([[e.kind, e.actor, e.subject, e.payload] for e in events(ledger)])
    assert [text for text in typed if text in written or audit.digest(text) in written] == []


@pytest.mark.parametrize(
    ("harm", "first_bad"),
    [
        pytest.param(["UPDATE audit_event SET payload = '{}' WHERE seq = 2"], 2, id="an edited payload"),
        pytest.param(["UPDATE audit_event SET actor = 'x' WHERE seq = 3"], 3, id="an edited actor"),
        pytest.param(["UPDATE audit_event SET at = '2020' WHERE seq = 1"], 1, id="an edited time"),
        pytest.param(["UPDATE audit_event SET previous = 'x' WHERE seq = 3"], 3, id="an edited link"),
        pytest.param(["UPDATE audit_event SET seq = 7 WHERE seq = 5"], 5, id="another number"),
        pytest.param(["DELETE FROM audit_event WHERE seq = 3"], 3, id="a removed one"),
        pytest.param(["DELETE FROM audit_event WHERE seq = 1"], 1, id="the first one removed"),
        pytest.param(["DELETE FROM audit_event WHERE seq >= 4"], 4, id="a truncated end"),
        pytest.param(["DELETE FROM audit_event"], 1, id="everything removed"),
        pytest.param(["UPDATE chain_head SET seq = 4"], 6, id="a head that was set back"),
        pytest.param(["DELETE FROM chain_head"], 6, id="no head"),
        pytest.param(
            [
                (
                    "INSERT INTO audit_event SELECT 6, at, kind, actor, subject, payload, hash, hash"
                    " FROM audit_event WHERE seq = 5"
                ),
            ],
            6,
            id="an inserted one",
        ),
        pytest.param(
            [
                "UPDATE audit_event SET seq = 99 WHERE seq = 2",
                "UPDATE audit_event SET seq = 2 WHERE seq = 3",
                "UPDATE audit_event SET seq = 3 WHERE seq = 99",
            ],
            2,
            id="two that changed places",
        ),
        pytest.param(
            [
                "DELETE FROM audit_event WHERE seq = 2",
                "UPDATE audit_event SET seq = seq - 1 WHERE seq = 3",
                "UPDATE audit_event SET seq = seq - 1 WHERE seq = 4",
                "UPDATE audit_event SET seq = seq - 1 WHERE seq = 5",
                "UPDATE chain_head SET seq = 4",
            ],
            2,
            id="one removed and the rest moved up",
        ),
    ],
)
def test_verify_names_the_first_bad_event(ledger: Ledger, harm: list[str], first_bad: int) -> None:
    fill(ledger, 1, 2, 3, 4)
    assert verified(ledger).events == 5
    do_harm(ledger, *harm)
    verification = verified(ledger)
    assert (verification.ok, verification.first_bad) == (False, first_bad)


def test_forged_hash_breaks_the_next_link(ledger: Ledger) -> None:
    fill(ledger, 1, 2, 3)
    victim = events(ledger)[1]
    payload = audit.canonical({"outcome": "duplicate"})
    fields: list[Any] = [victim.previous, 2, victim.at, victim.kind, victim.actor, victim.subject, payload]
    forged = hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
    harm = f"UPDATE audit_event SET payload = '{payload}', hash = '{forged}' WHERE seq = 2"  # noqa: S608
    do_harm(ledger, harm)
    assert verified(ledger).first_bad == 3
