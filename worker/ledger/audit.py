"""The hash-chained audit trail: append and verify.

The hash of each event covers the hash of the event before it, so an edited, removed, inserted or
reordered event breaks every later link (Schneier and Kelsey, "Secure audit logs to support computer
forensics", 1999). An event is appended in the same transaction as the change that it records. The
head of the chain is locked first, so two writers cannot append to the same event. A payload holds ids,
hashes, codes and numbers only. Of what a person typed, it holds a seal (`worker.ledger.seals`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring as _quoted

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.ledger.session import utc_now
from worker.ledger.tables import AuditEvent, ChainHead

GENESIS = "0" * 64
_VERIFY_BATCH = 5_000
# The columns that a link's hash covers, in this order, after the previous hash and the sequence number.
_HASHED = ("at", "kind", "actor", "subject", "payload")


@dataclass(frozen=True)
class Event:
    """One event of the audit trail: its kind, who did it (`actor`), to what (`subject`), and the details.

    `actor` is one of `worker.ledger.actors`. `at` is when it happened; None: the time of `append`.
    """

    kind: str
    actor: str
    subject: str
    payload: Mapping[str, object]
    at: datetime | None = None


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes:
        ok: whether every link is intact.
        events: number of intact events from the start of the chain.
        first_bad: sequence number of the first broken link; None if there is none.
        head: hash of the last intact event.
    """

    ok: bool
    events: int
    first_bad: int | None
    head: str


def canonical(payload: Mapping[str, object]) -> str:
    """Return the canonical JSON text of a payload: sorted keys, no spaces, floats as text with six decimals."""
    return json.dumps(_with_fixed_floats(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """Return the SHA-256 of text that no person typed, as hexadecimal digits."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def lock(session: Session) -> ChainHead:
    """Lock the head of the chain until the transaction ends.

    Every transaction that changes images and appends events calls this first. One order of locks means
    no deadlock, and no other writer can change what is read after it.
    """
    return session.scalars(select(ChainHead).where(ChainHead.id == 1).with_for_update()).one()


def append(session: Session, events: Iterable[Event], at: datetime | None = None) -> None:
    """Append events to the chain, in order, in the session's transaction."""
    head = lock(session)
    seq, previous = head.seq, head.hash
    now = at or utc_now()
    rows: list[dict[str, object]] = []
    for event in events:
        seq += 1
        payload = canonical(event.payload)
        stamp = (event.at or now).isoformat(timespec="microseconds")
        link = _link(previous, seq, stamp, event.kind, event.actor, event.subject, payload)
        rows.append(
            {
                "seq": seq,
                "at": stamp,
                "kind": event.kind,
                "actor": event.actor,
                "subject": event.subject,
                "payload": payload,
                "previous": previous,
                "hash": link,
            }
        )
        previous = link
    if rows:
        session.execute(insert(AuditEvent), rows)
        head.seq, head.hash = seq, previous
        session.flush()


def head(session: Session) -> tuple[int, str]:
    """Return the sequence number and hash of the last event, without a lock."""
    row = session.scalars(select(ChainHead).where(ChainHead.id == 1)).one_or_none()
    return (row.seq, row.hash) if row else (0, GENESIS)


def hash_of(session: Session, seq: int) -> str | None:
    """Return the hash of the event with this sequence number; None if there is no such event."""
    return session.scalar(select(AuditEvent.hash).where(AuditEvent.seq == seq))


def kind_of(session: Session, seq: int) -> str | None:
    """Return the kind of the event with this sequence number; None if there is no such event."""
    return session.scalar(select(AuditEvent.kind).where(AuditEvent.seq == seq))


def payloads(session: Session, subject: str, kind: str) -> Iterator[Mapping[str, object]]:
    """Yield the payloads of the events of one kind about a subject, in order; skip one that is no JSON object."""
    chosen = select(AuditEvent.payload).where(AuditEvent.subject == subject, AuditEvent.kind == kind)
    for text in session.scalars(chosen.order_by(AuditEvent.seq).execution_options(yield_per=_VERIFY_BATCH)):
        with suppress(ValueError):
            payload = json.loads(text)
            if isinstance(payload, dict):
                yield payload


def verify(session: Session) -> Verification:
    """Recompute every link from the first event to the head of the chain."""
    chain_head = session.execute(select(ChainHead.seq, ChainHead.hash).where(ChainHead.id == 1)).one_or_none()
    previous, seq = GENESIS, 0
    # Columns instead of objects, and in batches: an audit trail may have millions of events.
    columns = (AuditEvent.__table__.c[name] for name in ("seq", "previous", "hash", *_HASHED))
    events = session.execute(
        select(*columns).order_by(AuditEvent.seq).execution_options(yield_per=_VERIFY_BATCH)
    )
    for number, stored_previous, stored_hash, *hashed in events:
        intact = stored_previous == previous and stored_hash == _link(previous, number, *hashed)
        if number != seq + 1 or not intact:
            return Verification(ok=False, events=seq, first_bad=seq + 1, head=previous)
        seq, previous = number, stored_hash
    if chain_head is None or (chain_head.seq, chain_head.hash) != (seq, previous):
        return Verification(ok=False, events=seq, first_bad=seq + 1, head=previous)
    return Verification(ok=True, events=seq, first_bad=None, head=previous)


def _link(previous: str, seq: int, at: str, kind: str, actor: str, subject: str, payload: str) -> str:
    # What `json.dumps` writes for the list of them, in less than half of the time.
    fields = f"{_quoted(at)}, {_quoted(kind)}, {_quoted(actor)}, {_quoted(subject)}, {_quoted(payload)}"
    return hashlib.sha256(
        f"[{_quoted(previous)}, {seq}, {fields}]".encode("utf-8", "surrogatepass")
    ).hexdigest()


def _with_fixed_floats(value: object) -> object:
    """Replace floats by text of fixed precision, which is the same on every database and in every language."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, Mapping):
        return {str(key): _with_fixed_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_fixed_floats(item) for item in value]
    return value
