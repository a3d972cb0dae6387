"""Receipts: every file that arrives gets one, and every receipt but a duplicate's has its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.runs import run_named
from worker.ledger.states import ImageState, Lane, Outcome, Source, check_transition
from worker.ledger.tables import Image, Receipt


@dataclass(frozen=True)
class Arrival:
    """A file that is hashed and safe in the store, and waits to be recorded.

    `key` tells this arrival from every other (None: it cannot be seen twice);
    `rejection` is the code and the sentence of a file that was turned away.
    """

    source: Source
    original_name: str
    key: str | None
    sha256: str
    bytes: int
    format: str | None = None
    width: int | None = None
    height: int | None = None
    phantom: bool = False
    rejection: tuple[str, str] | None = None
    received_by: str | None = None


@dataclass(frozen=True)
class Recorded:
    """What an arrival became."""

    receipt_id: int
    image_id: int
    outcome: Outcome
    reason: str | None


def record(
    session: Session, arrivals: Sequence[Arrival], *, run: str, lane: Lane, at: datetime
) -> list[Recorded | None]:
    """Record a group of arrivals in order; None for one whose receipt was written before.

    That happens when a process died between the commit and the removal of the source, or
    when two watchers share a folder.
    """
    audit.lock(session)
    run_id = run_named(session, run, at).id
    seen = _keys_seen(session, arrivals)
    images = _images_known(session, arrivals)
    recorded: list[Recorded | None] = []
    events: list[audit.Event] = []
    for arrival in arrivals:
        if arrival.key is not None and arrival.key in seen:
            recorded.append(None)
            continue
        known = images.get(arrival.sha256)
        if known is None:
            known = images[arrival.sha256] = _insert_image(session, arrival, run_id, lane, at)
            outcome = Outcome.REJECTED if arrival.rejection else Outcome.NEW
        else:
            outcome = Outcome.DUPLICATE
        receipt_id = _insert_receipt(session, arrival, known, outcome, run_id, at)
        if arrival.key is not None:
            seen.add(arrival.key)
        events.append(_event(arrival, receipt_id, known, outcome))
        reason = arrival.rejection[1] if arrival.rejection else None
        recorded.append(Recorded(receipt_id, known, outcome, reason))
    audit.append(session, events, at)
    return recorded


def _keys_seen(session: Session, arrivals: Sequence[Arrival]) -> set[str]:
    keys = [arrival.key for arrival in arrivals if arrival.key is not None]
    rows = session.scalars(select(Receipt.arrival).where(Receipt.arrival.in_(keys)))
    return {key for key in rows if key is not None}


def _images_known(session: Session, arrivals: Sequence[Arrival]) -> dict[str, int]:
    hashes = {arrival.sha256 for arrival in arrivals}
    rows = session.execute(select(Image.sha256, Image.id).where(Image.sha256.in_(hashes)))
    return dict(rows.all())


def _insert_image(session: Session, arrival: Arrival, run_id: int, lane: Lane, at: datetime) -> int:
    state = ImageState.REJECTED if arrival.rejection else ImageState.PENDING
    check_transition(None, state)
    code, sentence = arrival.rejection or (None, None)
    statement = insert(Image).values(
        sha256=arrival.sha256,
        format=arrival.format,
        bytes=arrival.bytes,
        width=arrival.width,
        height=arrival.height,
        phantom=arrival.phantom,
        original_name=arrival.original_name,
        run_id=run_id,
        lane=lane,
        state=state,
        received_at=at,
        attempts=0,
        reason_code=code,
        reason=sentence,
    )
    return session.execute(statement.returning(Image.id)).scalar_one()


def _insert_receipt(
    session: Session, arrival: Arrival, image_id: int, outcome: Outcome, run_id: int, at: datetime
) -> int:
    code, sentence = arrival.rejection or (None, None)
    statement = insert(Receipt).values(
        source=arrival.source,
        original_name=arrival.original_name,
        arrival=arrival.key,
        sha256=arrival.sha256,
        bytes=arrival.bytes,
        outcome=outcome,
        reason_code=code,
        reason=sentence,
        image_id=image_id,
        run_id=run_id,
        received_at=at,
        received_by=arrival.received_by,
    )
    return session.execute(statement.returning(Receipt.id)).scalar_one()


def _event(arrival: Arrival, receipt_id: int, image_id: int, outcome: Outcome) -> audit.Event:
    particulars: dict[str, object] = {
        "receipt": receipt_id,
        "outcome": outcome.value,
        "source": arrival.source.value,
        "sha256": arrival.sha256,
        "bytes": arrival.bytes,
    }
    if arrival.rejection:
        particulars["reason"] = arrival.rejection[0]
    return audit.Event("received", arrival.received_by or "nightread", f"image:{image_id}", particulars)
