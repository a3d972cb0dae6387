"""The hash-chained trail: append and verify.

Each event's hash covers the hash of the one before it, so an edited, removed, inserted or
reordered event breaks every later link (Schneier and Kelsey, "Secure audit logs to support
computer forensics", 1999). Appended in the same transaction as what it records; the chain's
head is locked first, so two writers cannot both follow one event. No patient data goes into
a payload: ids, hashes, codes and numbers only, never a file's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.ledger.session import utc_now
from worker.ledger.tables import AuditEvent, ChainHead

GENESIS = "0" * 64
_VERIFY_BATCH = 5_000
# What an event's hash covers, after the hash and the number of the link, in this order.
_HASHED = ("at", "kind", "actor", "subject", "payload")


@dataclass(frozen=True)
class Event:
    """Something that happened: what kind, by whom, to what, and its particulars."""

    kind: str
    actor: str
    subject: str
    payload: Mapping[str, object]


@dataclass(frozen=True)
class Verification:
    """The answer of `verify`: `first_bad` is the sequence number of the first broken link."""

    ok: bool
    events: int
    first_bad: int | None
    head: str


def canonical(payload: Mapping[str, object]) -> str:
    """The one JSON text of a payload: sorted keys, no spaces, floats with six decimals as text."""
    return json.dumps(_fixed(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """SHA-256 of what a person wrote: it may name a patient, so the chain holds its hash only."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def lock(session: Session) -> ChainHead:
    """Lock the chain's head until the transaction ends.

    Whoever changes images and appends to the trail calls this first: one order of locks
    means no deadlock, and what is read after it cannot be changed by another writer.
    """
    return session.scalars(select(ChainHead).where(ChainHead.id == 1).with_for_update()).one()


def append(session: Session, events: Iterable[Event], at: datetime | None = None) -> None:
    """Append events to the chain, in order, as part of the session's transaction."""
    head = lock(session)
    seq, previous = head.seq, head.hash
    stamp = (at or utc_now()).isoformat(timespec="microseconds")
    rows: list[dict[str, object]] = []
    for event in events:
        seq += 1
        payload = canonical(event.payload)
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
    """Number and hash of the last event, without a lock."""
    found = session.scalars(select(ChainHead).where(ChainHead.id == 1)).one_or_none()
    return (found.seq, found.hash) if found else (0, GENESIS)


def hash_of(session: Session, seq: int) -> str | None:
    """The hash of the event of that number; None if there is none."""
    return session.scalar(select(AuditEvent.hash).where(AuditEvent.seq == seq))


def verify(session: Session) -> Verification:
    """Recompute every link from the first event to the chain's head."""
    end = session.execute(select(ChainHead.seq, ChainHead.hash).where(ChainHead.id == 1)).one_or_none()
    previous, seq = GENESIS, 0
    # Columns, not objects, and never all of them at once: a trail may have millions of events.
    columns = (AuditEvent.__table__.c[name] for name in ("seq", "previous", "hash", *_HASHED))
    events = session.execute(
        select(*columns).order_by(AuditEvent.seq).execution_options(yield_per=_VERIFY_BATCH)
    )
    for number, before, own, *said in events:
        if number != seq + 1 or before != previous or own != _link(previous, number, *said):
            return Verification(ok=False, events=seq, first_bad=seq + 1, head=previous)
        seq, previous = number, own
    if end is None or (end.seq, end.hash) != (seq, previous):
        return Verification(ok=False, events=seq, first_bad=seq + 1, head=previous)
    return Verification(ok=True, events=seq, first_bad=None, head=previous)


def _link(previous: str, seq: int, at: str, kind: str, actor: str, subject: str, payload: str) -> str:
    text = json.dumps([previous, seq, at, kind, actor, subject, payload], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _fixed(value: object) -> object:
    """Floats as text of fixed precision: the same on every database and in every language."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, Mapping):
        return {str(key): _fixed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fixed(item) for item in value]
    return value
