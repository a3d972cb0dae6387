"""Accesses: who saw, searched, exported or was refused what, one row each.

A row is inserted in a transaction of its own, which commits before the answer is sent. It does not wait for the
chain of the audit trail. `worker.ledger.access_batches` appends an event for many rows later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import AccessReason, AccessRecord


class AccessKind(StrEnum):
    """What somebody did."""

    # An image: its page, its full picture without its page, or its document over the API.
    VIEW = "view"
    # A picture that a browser asked for before anybody opened it.
    PREFETCH = "prefetch"
    # The stored bytes, with a reason.
    ORIGINAL = "original"
    # A list of images.
    SEARCH = "search"
    # A report.
    EXPORT = "export"
    # A request that was refused: 401 or 403.
    REFUSAL = "refusal"
    # The audit trail itself: shown or exported.
    TRAIL = "trail"


@dataclass(frozen=True)
class Access:
    """An access that happens now.

    Attributes:
        kind: what kind of access.
        actor: who, as in `worker.ledger.actors`.
        image_id: the image, if it is about one.
        run_id: the run, if it is about one.
        code: a word of the program that says more, for example `csv`. Never what a person typed.
        total: the number of equal accesses that the row stands for, at least 1.
        reason: the reason that a person or program gave; None if none is needed.
    """

    kind: AccessKind
    actor: str
    image_id: int | None = None
    run_id: int | None = None
    code: str = ""
    total: int = 1
    reason: str | None = None


def record(session: Session, access: Access, at: datetime) -> AccessRecord:
    """Insert the row of an access, and its reason beside it."""
    salt = None if access.reason is None else new_salt()
    row = AccessRecord(
        at=at,
        kind=access.kind,
        actor=access.actor,
        image_id=access.image_id,
        run_id=access.run_id,
        code=access.code,
        total=access.total,
        reason_seal=seal(salt or "", access.reason),
    )
    session.add(row)
    session.flush()
    if access.reason is not None:
        session.add(AccessReason(access_id=row.id, reason=access.reason, salt=salt))
        session.flush()
    return row


def has_seen(session: Session, actor: str, image_id: int, kind: AccessKind, since: datetime) -> bool:
    """Return whether an access of this kind by this actor to this image is on record since a time."""
    seen = select(AccessRecord.id).where(
        AccessRecord.image_id == image_id,
        AccessRecord.actor == actor,
        AccessRecord.kind == kind,
        AccessRecord.at >= since,
    )
    return session.scalar(seen.limit(1)) is not None
