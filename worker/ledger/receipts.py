"""Receipts: every file that arrives gets one. Every receipt except a duplicate's brings a new image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from worker.imagefile.identity import Identity
from worker.ledger import actors, audit, studies
from worker.ledger.runs import run_named
from worker.ledger.seals import ERASED, new_salt, seal
from worker.ledger.states import ImageState, Lane, Outcome, Source, check_transition
from worker.ledger.tables import Image, Receipt


@dataclass(frozen=True)
class Arrival:
    """A file that is hashed and safe in the store, and ready to be recorded.

    `key` identifies this arrival; None means that it cannot be seen twice. `rejection` is the reason code
    and the sentence of a file that the intake rejects. `identity` says whose image it is, as far as that is known.
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
    identity: Identity | None = None


@dataclass(frozen=True)
class RecordedArrival:
    """The receipt, the image and the outcome of an arrival.

    If the image was `erased`, the caller must remove the bytes that it stored.
    """

    receipt_id: int
    image_id: int
    outcome: Outcome
    reason: str | None
    reason_code: str | None
    erased: bool = False


ERASED_BEFORE = (
    "erased",
    "This image was erased. Nightread kept neither bytes nor name of the file, and does not score it again.",
)


def record(
    session: Session, arrivals: Sequence[Arrival], *, run: str, lane: Lane, at: datetime
) -> list[RecordedArrival | None]:
    """Record a group of arrivals in order and return their records; None for one that has a receipt already.

    An arrival has a receipt already when a process died between the commit and the removal of the source,
    or when two watchers share a folder. Raises ValueError if the name of a person who sent a file is not valid.
    """
    audit.lock(session)
    run_id = run_named(session, run, at).id
    is_new = _without_receipt(session, arrivals)
    new_arrivals = [arrival for arrival, new in zip(arrivals, is_new, strict=True) if new]
    image_ids_by_hash = _image_ids_by_hash(session, new_arrivals)
    # The first file with unknown bytes brings a new image; every other one is a duplicate.
    first_positions: dict[str, int] = {}
    for position, arrival in enumerate(new_arrivals):
        if arrival.sha256 not in image_ids_by_hash:
            first_positions.setdefault(arrival.sha256, position)
    image_ids_by_hash |= _insert_images(
        session, [new_arrivals[position] for position in first_positions.values()], run_id, lane, at
    )
    outcomes = [
        _outcome(arrival, first_positions.get(arrival.sha256) == position)
        for position, arrival in enumerate(new_arrivals)
    ]
    image_ids = [image_ids_by_hash[arrival.sha256] for arrival in new_arrivals]
    erased = _stored_again(session, image_ids)
    new_arrivals = [
        _without_text(arrival) if image_id in erased else arrival
        for arrival, image_id in zip(new_arrivals, image_ids, strict=True)
    ]
    rows = [
        _receipt_row(arrival)
        | {"image_id": image_id, "outcome": outcome, "run_id": run_id, "received_at": at}
        for arrival, image_id, outcome in zip(new_arrivals, image_ids, outcomes, strict=True)
    ]
    receipt_ids = _insert_receipts(session, rows)
    added = studies.add(session, _identities(new_arrivals, image_ids), at)
    events = [
        _event(arrival, receipt_id, row, lane, added.details.pop(row["image_id"], {}))
        for arrival, receipt_id, row in zip(new_arrivals, receipt_ids, rows, strict=True)
    ]
    audit.append(session, [*added.events, *events], at)
    recorded = map(
        _recorded, new_arrivals, receipt_ids, image_ids, outcomes, (i in erased for i in image_ids)
    )
    return [next(recorded) if new else None for new in is_new]


def any_image(session: Session) -> bool:
    """Return whether any image was ever recorded."""
    return session.scalar(select(Image.id).limit(1)) is not None


def recorded_keys(session: Session, keys: Sequence[str]) -> set[str]:
    """Return the keys among `keys` that have a receipt."""
    return set(session.scalars(select(Receipt.arrival).where(Receipt.arrival.in_(keys))))


def replace_keys(session: Session, new_keys: Mapping[str, str | None]) -> None:
    """Give receipts another arrival key: old key -> new key, or None if their files cannot be seen again."""
    for old, new in new_keys.items():
        session.execute(update(Receipt).where(Receipt.arrival == old).values(arrival=new))


def _without_receipt(session: Session, arrivals: Sequence[Arrival]) -> list[bool]:
    """Return for each arrival whether it has no receipt yet, in the ledger or earlier in the group."""
    keys = [arrival.key for arrival in arrivals if arrival.key is not None]
    keys_with_receipt = recorded_keys(session, keys)
    is_new = []
    for arrival in arrivals:
        is_new.append(arrival.key not in keys_with_receipt)
        if arrival.key is not None:
            keys_with_receipt.add(arrival.key)
    return is_new


def _image_ids_by_hash(session: Session, arrivals: Sequence[Arrival]) -> dict[str, int]:
    hashes = {arrival.sha256 for arrival in arrivals}
    rows = session.execute(select(Image.sha256, Image.id).where(Image.sha256.in_(hashes)))
    return dict(rows.all())


def _outcome(arrival: Arrival, brings_image: bool) -> Outcome:  # noqa: FBT001 - private, and named so
    if not brings_image:
        return Outcome.DUPLICATE
    return Outcome.REJECTED if arrival.rejection else Outcome.NEW


def _recorded(
    arrival: Arrival,
    receipt_id: int,
    image_id: int,
    outcome: Outcome,
    erased: bool,  # noqa: FBT001 - private, and named so
) -> RecordedArrival:
    code, reason = arrival.rejection or (None, None)
    return RecordedArrival(receipt_id, image_id, outcome, reason, code, erased)


def _stored_again(session: Session, image_ids: Sequence[int]) -> set[int]:
    """Note that the bytes of removed images are in the store again, and return those of the images that are erased."""
    removed = or_(Image.state == ImageState.ERASED, Image.bytes_removed_at.is_not(None))
    again = select(Image.id, Image.state).where(Image.id.in_(image_ids), removed)
    states = dict(session.execute(again).all())
    if states:
        session.execute(update(Image).where(Image.id.in_(states)).values(bytes_removed_at=None))
    return {image_id for image_id, state in states.items() if state == ImageState.ERASED}


def _without_text(arrival: Arrival) -> Arrival:
    """Return the arrival of an erased image's file as it may be recorded."""
    return replace(arrival, original_name=ERASED, rejection=ERASED_BEFORE, identity=None)


def _identities(arrivals: Sequence[Arrival], image_ids: Sequence[int]) -> dict[int, Identity]:
    """Return what is known of each image, from its first arrival that says anything."""
    identities: dict[int, Identity] = {}
    for arrival, image_id in zip(arrivals, image_ids, strict=True):
        if arrival.identity is not None and arrival.identity != Identity():
            identities.setdefault(image_id, arrival.identity)
    return identities


def _insert_images(
    session: Session, arrivals: Sequence[Arrival], run_id: int, lane: Lane, at: datetime
) -> dict[str, int]:
    """Insert all images in one statement and return their ids by hash."""
    rows = [_image_row(arrival) | {"run_id": run_id, "lane": lane, "received_at": at} for arrival in arrivals]
    if not rows:
        return {}
    inserted = session.execute(insert(Image).returning(Image.sha256, Image.id), rows)
    return dict(inserted.all())


def _image_row(arrival: Arrival) -> dict[str, object]:
    state = ImageState.REJECTED if arrival.rejection else ImageState.PENDING
    check_transition(None, state)
    code, sentence = arrival.rejection or (None, None)
    return {
        "sha256": arrival.sha256,
        "format": arrival.format,
        "bytes": arrival.bytes,
        "width": arrival.width,
        "height": arrival.height,
        "phantom": arrival.phantom,
        "original_name": arrival.original_name,
        "state": state,
        "attempts": 0,
        "reason_code": code,
        "reason": sentence,
    }


def _insert_receipts(session: Session, rows: Sequence[dict[str, Any]]) -> Sequence[int]:
    """Insert all receipts in one statement and return their ids in the order of the rows."""
    if not rows:
        return []
    statement = insert(Receipt).returning(Receipt.id, sort_by_parameter_order=True)
    return session.scalars(statement, rows).all()


def _receipt_row(arrival: Arrival) -> dict[str, Any]:
    code, sentence = arrival.rejection or (None, None)
    # An erased image has no text that a salt could seal.
    erased = arrival.rejection == ERASED_BEFORE
    return {
        "source": arrival.source,
        "original_name": arrival.original_name,
        "arrival": arrival.key,
        "sha256": arrival.sha256,
        "bytes": arrival.bytes,
        "reason_code": code,
        "reason": sentence,
        "received_by": None if erased else arrival.received_by,
        "salt": None if erased else new_salt(),
    }


def _sealed(salt: str | None, text: str | None) -> str | None:
    return None if salt is None else seal(salt, text)


def _event(
    arrival: Arrival, receipt_id: int, row: dict[str, Any], lane: Lane, known: Mapping[str, object]
) -> audit.Event:
    details: dict[str, object] = {
        **known,
        "receipt": receipt_id,
        "outcome": row["outcome"].value,
        "source": arrival.source.value,
        "sha256": arrival.sha256,
        "bytes": arrival.bytes,
        "run": row["run_id"],
        "original_name_seal": _sealed(row["salt"], arrival.original_name),
        "received_by_seal": _sealed(row["salt"], arrival.received_by),
    }
    if row["outcome"] is not Outcome.DUPLICATE:
        facts = {name: getattr(arrival, name) for name in ("format", "width", "height", "phantom")}
        details |= {"lane": lane.value, **facts}
    if arrival.rejection:
        code, sentence = arrival.rejection
        details |= {"reason": code, "reason_sha256": audit.digest(sentence)}
    actor = actors.of_sender(arrival.received_by)
    return audit.Event("received", actor, f"image:{row['image_id']}", details)
