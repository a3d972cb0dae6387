from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.filling import AT, RUN, arrival, fill, receive
from worker.ledger import audit
from worker.ledger.audit import Event, Verification
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, ChainHead


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


def test_empty_audit_trail_is_intact(ledger: Ledger) -> None:
    assert verified(ledger) == Verification(ok=True, events=0, first_bad=None, head="0" * 64)


def test_rollback_leaves_no_event(ledger: Ledger) -> None:
    def fail(session: Session) -> None:
        audit.append(session, [Event("test", "me", "it", {})], AT)
        raise RuntimeError

    with pytest.raises(RuntimeError), ledger.transaction() as session:
        fail(session)
    assert verified(ledger).events == 0


def test_audit_trail_holds_no_file_name_and_no_typed_reason(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        receive(session, arrival(1, name="DOE^JOHN 1950.jpg"), arrival(2, name="ROE^JANE"))
    written = json.dumps([[e.kind, e.actor, e.subject, e.payload] for e in events(ledger)])
    assert "DOE" not in written
    assert "ROE" not in written
    assert RUN not in written, "a person types the name of a run too"


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
