"""Batches of accesses: one event of the audit trail proves many rows.

A batch covers every row above the last row of the batch before, up to its own last row. Its event holds the number
and the SHA-256 of these rows, so a row that is changed, deleted or inserted later is found.

On PostgreSQL, a row with a smaller id may be committed after a row with a larger one. A batch must not end between
them. Therefore a trigger takes a shared advisory lock before an insert takes its id, and `last_final_id` takes the
exclusive lock for a moment: then every id that was given out is committed or will never be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from json.encoder import encode_basestring as _quoted
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from worker.ledger import actors, audit
from worker.ledger.tables import AccessBatch, AccessRecord

BATCH = 10_000
# Migration 0009 has the same number.
LOCK = 0x6E69676875
# New accesses wait behind a waiting exclusive lock, so it must not wait for long.
_LOCK_WAIT_MS = 100
# PostgreSQL: lock_not_available (PostgreSQL documentation, appendix A).
_LOCK_NOT_AVAILABLE = "55P03"
# The columns that the hash of a batch covers, in this order.
_HASHED = (
    AccessRecord.id,
    AccessRecord.at,
    AccessRecord.kind,
    AccessRecord.actor,
    AccessRecord.image_id,
    AccessRecord.run_id,
    AccessRecord.code,
    AccessRecord.total,
    AccessRecord.reason_seal,
)
# No row has a smaller id.
_LOWEST = -(2**63)


class Digest:
    """Number, first and last id, and SHA-256 of rows that are added in the order of their ids."""

    def __init__(self) -> None:
        """Begin without a row."""
        self.total = self.first_id = self.last_id = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the rows so far, as hexadecimal digits."""
        return self._hash.hexdigest()

    def add(self, row: Sequence[Any]) -> None:
        """Add the next row, with the columns of `_HASHED`, as a line of JSON."""
        row_id, at, *rest = row
        # What `json.dumps` writes for the list of them, in a third of the time.
        line = ", ".join(map(_as_json, (row_id, at.isoformat(timespec="microseconds"), *rest)))
        self._hash.update(f"[{line}]\n".encode())
        self.first_id = self.first_id if self.total else row_id
        self.last_id, self.total = row_id, self.total + 1


def last_final_id(session: Session) -> int | None:
    """Return the largest id below which no row can appear any more; None if this cannot be told now.

    The session is a transaction of its own, which ends soon: on PostgreSQL, new accesses wait for it.
    """
    if session.get_bind().dialect.name == "postgresql" and not _lock_accesses(session):
        return None
    return session.scalar(select(func.max(AccessRecord.id))) or 0


def _lock_accesses(session: Session) -> bool:
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL lock_timeout = {_LOCK_WAIT_MS}"))
            session.execute(select(func.pg_advisory_xact_lock(LOCK)))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def last_chained_id(session: Session) -> int:
    """Return the id of the last row that a batch covers; 0 if there is no batch."""
    return session.scalar(select(func.max(AccessBatch.last_id))) or 0


def oldest_unchained(session: Session) -> datetime | None:
    """Return the time of the first row that no batch covers; None if a batch covers every row."""
    first = select(AccessRecord.at).where(AccessRecord.id > last_chained_id(session))
    return session.scalar(first.order_by(AccessRecord.id).limit(1))


def digest_of(session: Session, after: int, up_to: int) -> Digest:
    """Return the digest of the rows above `after`, up to `up_to`, `BATCH` of them at most."""
    rows = select(*_HASHED).where(AccessRecord.id > after, AccessRecord.id <= up_to)
    return _digest(session.execute(rows.order_by(AccessRecord.id).limit(BATCH)))


def append(session: Session, after: int, digest: Digest, at: datetime) -> bool:
    """Append a batch and its event. Return False if another process has appended one since `after` was the last."""
    audit.lock(session)
    if last_chained_id(session) != after:
        return False
    facts = {
        "first_id": digest.first_id,
        "last_id": digest.last_id,
        "total": digest.total,
        "sha256": digest.sha256,
    }
    batch = AccessBatch(**facts, at=at)
    session.add(batch)
    session.flush()
    event = audit.Event("accesses_chained", actors.PROGRAM, f"access_batch:{batch.id}", facts)
    audit.append(session, [event], at)
    return True


def changed_batches(session: Session) -> Iterator[int]:
    """Yield the id of each batch whose rows are not those that it was made of."""
    after = _LOWEST
    for batch in session.execute(
        select(
            AccessBatch.id, AccessBatch.first_id, AccessBatch.last_id, AccessBatch.total, AccessBatch.sha256
        )
        .order_by(AccessBatch.last_id)
        .execution_options(yield_per=BATCH)
    ):
        rows = select(*_HASHED).where(AccessRecord.id > after, AccessRecord.id <= batch.last_id)
        digest = _digest(session.execute(rows.order_by(AccessRecord.id).execution_options(yield_per=BATCH)))
        said = (batch.first_id, batch.last_id, batch.total, batch.sha256)
        if (digest.first_id, digest.last_id, digest.total, digest.sha256) != said:
            yield batch.id
        after = batch.last_id


def _as_json(value: str | int | None) -> str:
    if value is None:
        return "null"
    if type(value) is str:
        return _quoted(value)
    return str(value) if type(value) is int else json.dumps(value)


def _digest(rows: Iterable[Sequence[Any]]) -> Digest:
    digest = Digest()
    for row in rows:
        digest.add(row)
    return digest
