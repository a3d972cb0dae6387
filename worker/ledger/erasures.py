"""Erases images: what the rows say of a patient goes, and the image keeps its number, its hash, times and figures.

`erase` clears the rows in one transaction, and from then on nothing shows the image. Its bytes follow: `unfinished`
names the images whose bytes may be in the image store, and `finish` records that they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from worker.ledger import actors, audit, studies
from worker.ledger.runs import is_own_name
from worker.ledger.seals import ERASED, erased_unique, is_erased, new_salt, seal
from worker.ledger.session import update_rows
from worker.ledger.states import ImageState, Outcome, check_transition
from worker.ledger.tables import (
    AccessReason,
    AccessRecord,
    Erasure,
    Image,
    Prediction,
    Receipt,
    ReceiptTally,
    Review,
    Run,
)

# Ids in one IN (...): below the limits of SQLite and PostgreSQL on the number of parameters.
IDS_PER_STATEMENT = 5_000
# Receipts whose key of the arrival is not needed any more: it holds a hash of the file's name, and the source is gone. An
# arrival whose file cannot be removed from the inbox keeps its key. Without it, each scan would record it again.
NOT_IN_INBOX = or_(Receipt.arrival.is_(None), ~Receipt.arrival.like("kept:%"))
# What a person typed into a reading, and its columns when that is gone.
HAS_TEXT = or_(Review.note != "", Review.other_finding != "", Review.why != "")
NO_TEXT: dict[str, str | None] = {"note": "", "other_finding": "", "why": "", "salt": None}
# What an erased image keeps of the prediction in force and of its reasons: nothing.
_CLEARED = (
    "lease_owner", "lease_until", "queued_at", "reason_code", "reason", "retry_reason", "salt", "verdict", "p_pneumonia",
    "population", "distance", "scored_at", "compute_ms", "review_state", "drawn_rank", "operating_point_id", "point_group", "claimed_by_id", "claimed_until",
    "bytes_removed_at",
)  # fmt: skip


@dataclass(frozen=True)
class Doomed:
    """What an erasure would remove of one image.

    Attributes:
        image_id: its number.
        state: its present state; `erased` if nothing is left in the rows.
        bytes: size of the stored file.
        names: number of receipts with the name of a file.
        notes: number of readings with words that a person typed.
        maps: number of activation maps.
        identity: names of the columns that say whose image it is and how it was taken, and are not empty.
    """

    image_id: int
    state: str
    bytes: int
    names: int
    notes: int
    maps: int
    identity: Sequence[str]


@dataclass(frozen=True)
class RunName:
    """A name of a run that a person typed. `other_images`: whether the run also holds images that stay."""

    run_id: int
    other_images: bool


def plan(session: Session, image_ids: Sequence[int]) -> list[Doomed]:
    """Return what would go, in the order of ids. Raises LookupError if there is no image of one of these ids."""
    rows = session.execute(select(Image.id, Image.state, Image.bytes).where(Image.id.in_(image_ids))).all()
    missing = sorted(set(image_ids) - {row.id for row in rows})
    if missing:
        raise LookupError(f"There is no image {', '.join(map(str, missing))}. Nothing was erased.")
    names = _counts(session, Receipt, Receipt.original_name != ERASED, image_ids)
    notes = _counts(session, Review, HAS_TEXT, image_ids)
    maps = _counts(session, Prediction, Prediction.map_height > 0, image_ids)
    known = studies.known_columns(session, image_ids)
    return [
        Doomed(
            row.id,
            row.state,
            row.bytes,
            names.get(row.id, 0),
            notes.get(row.id, 0),
            maps.get(row.id, 0),
            known.get(row.id, []),
        )
        for row in sorted(rows)
    ]


def run_names(session: Session, image_ids: Sequence[int]) -> list[RunName]:
    """Return the typed names of the runs in which these images arrived, in the order of ids."""
    arrived_in = select(Receipt.run_id).where(Receipt.image_id.in_(image_ids))
    runs = session.scalars(select(Run).where(Run.id.in_(arrived_in)).order_by(Run.id))
    return [RunName(run.id, _holds_others(session, run.id, image_ids)) for run in runs if _is_typed(run)]


def erase(
    session: Session,
    image_ids: Sequence[int],
    *,
    who: str,
    why: str,
    all_run_names: bool = False,
    at: datetime,
) -> list[int]:
    """Remove what the rows say of the patients of these images, and return the images that were not erased before.

    A run whose images are all erased loses a name that a person typed; with `all_run_names`, every run in which one
    of the images arrived does.

    Args:
        session: of a transaction.
        image_ids: at most `IDS_PER_STATEMENT`.
        who: the actor of the events, never a name: see `audit.Event`.
        why: the reason. It stands in the table, and its seal in the event.
        all_run_names: see above.
        at: the time by the ledger's clock.

    Raises:
        LookupError: there is no image of one of these ids. Nothing was changed.
        ValueError: `why` is empty.
    """
    if not why.strip():
        raise ValueError("An erasure needs a reason.")
    audit.lock(session)
    before = {doomed.image_id: ImageState(doomed.state) for doomed in plan(session, image_ids)}
    new = [image_id for image_id, state in before.items() if state is not ImageState.ERASED]
    for image_id in new:
        check_transition(before[image_id], ImageState.ERASED)
    erasures = [_erasure(image_id, why, at) for image_id in new]
    session.add_all(erasures)
    session.flush()
    _clear_images(session, new)
    events = [_erased_event(row, before[row.image_id], who) for row in erasures]
    events += studies.erase(session, new, who)
    nameless = [run for run in run_names(session, image_ids) if all_run_names or not run.other_images]
    events += [_erase_run_name(session, run.run_id, who) for run in nameless]
    audit.append(session, events, at)
    return new


def unfinished(session: Session, limit: int) -> dict[int, str]:
    """Return the SHA-256 of erased images whose bytes may be in the image store, by id."""
    waiting = Image.state == ImageState.ERASED, Image.bytes_removed_at.is_(None)
    rows = session.execute(select(Image.id, Image.sha256).where(*waiting).order_by(Image.id).limit(limit))
    return dict(rows.all())


def erased_images(session: Session) -> dict[int, str]:
    """Return the SHA-256 of every erased image, by id."""
    rows = select(Image.id, Image.sha256).where(Image.state == ImageState.ERASED).order_by(Image.id)
    return dict(session.execute(rows).all())


def finish(session: Session, images: Mapping[int, str], is_gone: Callable[[str], bool], at: datetime) -> None:
    """Record that the bytes of erased images are gone.

    Args:
        session: of a transaction.
        images: the SHA-256 of each, by id.
        is_gone: says whether the image store has no file of this hash. It is called under the lock of the chain: a
            file that arrives again is stored before its receipt is recorded, which needs the lock and reopens the image.
        at: the time by the ledger's clock.
    """
    audit.lock(session)
    image_ids = [image_id for image_id, sha256 in images.items() if is_gone(sha256)]
    waiting = session.scalars(
        select(Image.id)
        .where(Image.id.in_(image_ids), Image.state == ImageState.ERASED, Image.bytes_removed_at.is_(None))
        .order_by(Image.id)
    ).all()
    update_rows(session, Image, Image.id.in_(waiting), bytes_removed_at=at)
    update_rows(session, Receipt, Receipt.image_id.in_(waiting) & NOT_IN_INBOX, arrival=None)
    removed = (audit.Event("bytes_removed", actors.PROGRAM, f"image:{image_id}", {}) for image_id in waiting)
    audit.append(session, removed, at)


def _counts(session: Session, table: Any, condition: Any, image_ids: Sequence[int]) -> dict[int, int]:
    """Return the number of rows of each image for which the condition holds."""
    counts = select(table.image_id, func.count()).where(table.image_id.in_(image_ids), condition)
    return dict(session.execute(counts.group_by(table.image_id)).all())


def _is_typed(run: Run) -> bool:
    return not is_own_name(run.name) and not is_erased(run.salt, run.name, run.id)


def _holds_others(session: Session, run_id: int, image_ids: Sequence[int]) -> bool:
    """Return whether an image arrived in the run, for the first time or again, that is not and will not be erased."""
    stays = Image.state != ImageState.ERASED, Image.id.not_in(image_ids)
    if session.scalar(select(Image.id).where(Image.run_id == run_id, *stays).limit(1)) is not None:
        return True
    again = Receipt.run_id == run_id, Receipt.outcome == Outcome.DUPLICATE
    duplicates = select(ReceiptTally.total).where(
        ReceiptTally.run_id == run_id, ReceiptTally.outcome == Outcome.DUPLICATE
    )
    goes = or_(Image.state == ImageState.ERASED, Image.id.in_(image_ids))
    going = select(func.count()).select_from(Receipt).join(Image, Image.id == Receipt.image_id)
    return (session.scalar(duplicates) or 0) > (session.scalar(going.where(*again, goes)) or 0)


def _erasure(image_id: int, why: str, at: datetime) -> Erasure:
    return Erasure(image_id=image_id, reason=why, salt=new_salt(), at=at)


def _erased_event(row: Erasure, before: ImageState, who: str) -> audit.Event:
    details = {"erasure": row.id, "from": before.value, "reason_seal": seal(row.salt or "", row.reason)}
    return audit.Event("erased", who, f"image:{row.image_id}", details)


def _clear_images(session: Session, image_ids: Sequence[int]) -> None:
    cleared = dict.fromkeys(_CLEARED)
    update_rows(
        session,
        Image,
        Image.id.in_(image_ids),
        state=ImageState.ERASED,
        original_name=ERASED,
        **cleared,
    )
    of_images = {table: table.image_id.in_(image_ids) for table in (Receipt, Review, Prediction)}
    update_rows(session, Receipt, of_images[Receipt], original_name=ERASED, received_by=None, salt=None)
    update_rows(session, Review, of_images[Review], **NO_TEXT)
    downloads = select(AccessRecord.id).where(
        AccessRecord.image_id.in_(image_ids), AccessRecord.reason_seal.is_not(None)
    )
    update_rows(session, AccessReason, AccessReason.access_id.in_(downloads), reason=ERASED, salt=None)
    # The map shows the outlines of the body.
    update_rows(session, Prediction, of_images[Prediction], activation=b"", map_height=0, map_width=0)


def _erase_run_name(session: Session, run_id: int, who: str) -> audit.Event:
    update_rows(session, Run, Run.id == run_id, name=erased_unique(run_id), salt=None)
    return audit.Event("name_erased", who, f"run:{run_id}", {})
