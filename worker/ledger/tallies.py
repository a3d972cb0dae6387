"""Tallies: the number of rows of each kind, so that no page counts a million rows.

Database triggers update them in the transaction that changes the rows, whichever program changes them: see
migration 0003. Receipts, images and predictions are each tallied from their own table, so the file count
still compares two independent counts. `differences` counts the rows themselves; `repair` sets the tallies to
that count.

On PostgreSQL a tally is one row that every writer updates. Every transaction that changes the kind of an
image must call `audit.lock` first, or two of them could deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, insert, select
from sqlalchemy.orm import Session

from worker.card.band import LIMIT_OF_DISTANCE
from worker.ledger import actors, audit
from worker.ledger.tables import Base, Image, ImageTally, Prediction, PredictionTally, Receipt, ReceiptTally

_DISTANCE = Image.__table__.c.distance
# Each tally and the columns that it counts by; empty text stands for null.
_KINDS: dict[type[Base], Sequence[ColumnElement[Any]]] = {
    ReceiptTally: [Receipt.__table__.c[name] for name in ("run_id", "outcome")],
    ImageTally: [
        *(Image.__table__.c[name] for name in ("run_id", "state")),
        *(func.coalesce(Image.__table__.c[name], "") for name in ("verdict", "review_state", "population")),
        case((_DISTANCE > LIMIT_OF_DISTANCE, "far"), (_DISTANCE.is_(None), ""), else_="near"),
    ],
    PredictionTally: [Prediction.__table__.c.model_id],
}


def differences(session: Session) -> int:
    """Return how many tallies differ from a count of the rows. It reads every row: do not call it for a page."""
    return sum(_differences(session, tally, kinds) for tally, kinds in _KINDS.items())


def repair(session: Session) -> int:
    """Count all tallies again if any is wrong, record an event, and return how many were wrong."""
    # Every writer of these tables takes this lock first, so nothing changes until the commit.
    audit.lock(session)
    wrong = differences(session)
    if wrong:
        for tally, kinds in _KINDS.items():
            session.execute(delete(tally))
            counts = select(*kinds, func.count()).group_by(*kinds)
            session.execute(insert(tally).from_select(list(tally.__table__.c), counts))
        event = audit.Event("tallies_repaired", actors.PROGRAM, "ledger", {"differences": wrong})
        audit.append(session, [event])
    return wrong


def _differences(session: Session, tally: type[Base], kinds: Sequence[ColumnElement[Any]]) -> int:
    *keys, total = tally.__table__.c
    tallied = {row[:-1]: row[-1] for row in session.execute(select(*keys, total).where(total != 0))}
    counted = {row[:-1]: row[-1] for row in session.execute(select(*kinds, func.count()).group_by(*kinds))}
    return sum(tallied.get(kind) != counted.get(kind) for kind in tallied.keys() | counted.keys())
