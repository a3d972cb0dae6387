"""How many objects the receiver took and did not take, and how many connections it turned away, since the first start."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from worker.ledger.tables import ReceiverTally


class Kind(StrEnum):
    """What happened to an object, or why a connection was turned away or ended."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    NO_SPACE = "no_space"
    FAILED = "failed"
    ADDRESS = "address"
    CALLED_TITLE = "called_title"
    CALLING_TITLE = "calling_title"
    CROWDED = "crowded"
    TLS = "tls"
    TOO_LONG = "too_long"
    TOO_SLOW = "too_slow"
    MALFORMED = "malformed"


# The others are about connections.
OF_OBJECTS = (Kind.NEW, Kind.DUPLICATE, Kind.REJECTED, Kind.NO_SPACE, Kind.FAILED)


def add(session: Session, counts: Mapping[Kind, int]) -> None:
    """Add to the tallies. Several receivers may do this at the same time."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    for kind, count in sorted(counts.items()):
        row = insert(ReceiverTally).values(kind=kind.value, total=count)
        total = ReceiverTally.total + row.excluded.total
        session.execute(row.on_conflict_do_update(index_elements=[ReceiverTally.kind], set_={"total": total}))


def totals(session: Session) -> dict[Kind, int]:
    """Return the total of each kind."""
    found = dict(session.execute(select(ReceiverTally.kind, ReceiverTally.total)).all())
    return {kind: found.get(kind.value, 0) for kind in Kind}
