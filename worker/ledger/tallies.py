"""Tallies: how many rows of each kind there are, so that no page counts a million of them.

Triggers of the database keep them, in the transaction that changes the rows, whoever changes them: see
migration 0003. Receipts, images and predictions are tallied each from their own table, so the books still
compare two things that were counted apart. `differences` counts the rows themselves, and `repair` makes the
tallies what was counted.

On PostgreSQL a tally is one row that every writer adds to: `audit.lock` comes before it, in every
transaction that changes an image's kind, or two of them could wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.tables import Base, Image, ImageTally, Prediction, PredictionTally, Receipt, ReceiptTally

# The tally, and what it counts by: columns of its table, where empty text stands for none.
_KINDS: dict[type[Base], Sequence[ColumnElement[Any]]] = {
    ReceiptTally: [Receipt.__table__.c[name] for name in ("run_id", "outcome")],
    ImageTally: [
        *(Image.__table__.c[name] for name in ("run_id", "state")),
        *(func.coalesce(Image.__table__.c[name], "") for name in ("verdict", "review_state")),
    ],
    PredictionTally: [Prediction.__table__.c.model_id],
}


def differences(session: Session) -> int:
    """In how many places the tallies are not what there is. Reads every row: not for a page."""
    return sum(_differences(session, tally, kinds) for tally, kinds in _KINDS.items())


def repair(session: Session) -> int:
    """Count all tallies anew if any is not what there is; how many were not. It stands in the trail."""
    # Whoever changes what is counted takes this lock first: until the commit nothing is.
    audit.lock(session)
    found = differences(session)
    if found:
        for tally, kinds in _KINDS.items():
            session.execute(delete(tally))
            there = select(*kinds, func.count()).group_by(*kinds)
            session.execute(insert(tally).from_select(list(tally.__table__.c), there))
        event = audit.Event("tallies_repaired", "nightread", "ledger", {"differences": found})
        audit.append(session, [event])
    return found


def _differences(session: Session, tally: type[Base], kinds: Sequence[ColumnElement[Any]]) -> int:
    *keys, total = tally.__table__.c
    kept = {row[:-1]: row[-1] for row in session.execute(select(*keys, total).where(total != 0))}
    there = {row[:-1]: row[-1] for row in session.execute(select(*kinds, func.count()).group_by(*kinds))}
    return sum(kept.get(kind) != there.get(kind) for kind in kept.keys() | there.keys())
