"""Finds what is older than the settings allow, and removes it from the rows, a few at a time.

An image that waits keeps everything: one that is pending or being scored, one that is flagged or uncertain and that
nobody has read, and one for which a second opinion is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from worker.ledger import actors, audit, studies
from worker.ledger.erasures import HAS_TEXT, NO_TEXT, NOT_IN_INBOX
from worker.ledger.runs import CANARY_RUN
from worker.ledger.seals import ERASED, erased_unique
from worker.ledger.session import update_rows
from worker.ledger.states import NEEDS_READING, WAITS_FOR_READER, ImageState, Outcome, ReviewState
from worker.ledger.tables import (
    AccessReason,
    AccessRecord,
    BrowserSession,
    Erasure,
    Image,
    Instance,
    Prediction,
    Receipt,
    Review,
    Run,
    SignInLink,
    SiteSetting,
    Study,
)

_PAGE = 1_000
_WAITS = or_(
    Image.state.in_((ImageState.PENDING, ImageState.LEASED)),
    and_(
        func.coalesce(Image.review_state, "") == ReviewState.UNREAD,
        func.coalesce(Image.verdict, "").in_(NEEDS_READING),
    ),
    func.coalesce(Image.review_state, "").in_(WAITS_FOR_READER),
)


@dataclass(frozen=True)
class Step:
    """One kind of rows whose time is over.

    Attributes:
        due: selects the ids of rows from before a time, without an order.
        remove: removes what must go from the rows with these ids, in a transaction that has locked the chain.
    """

    due: Callable[[datetime], Select[Any]]
    remove: Callable[[Session, Sequence[int], datetime], None]


def next_ids(session: Session, step: Step, before: datetime, *, after: int, limit: int) -> list[int]:
    """Return the first ids above `after` that are due."""
    ids = step.due(before).order_by(_id_of(step, before)).limit(limit)
    return list(session.scalars(ids.where(_id_of(step, before) > after)))


def all_ids(session: Session, step: Step, before: datetime) -> Iterator[int]:
    """Yield all ids that are due."""
    after = 0
    while ids := next_ids(session, step, before, after=after, limit=_PAGE):
        yield from ids
        after = ids[-1]


def remove(session: Session, step: Step, before: datetime, *, after: int, limit: int, at: datetime) -> int:
    """Remove from the first rows above `after`. Return the last of their ids; 0 if nothing is due.

    Raises what `Step.remove` raises; then nothing was removed.
    """
    audit.lock(session)
    ids = next_ids(session, step, before, after=after, limit=limit)
    if not ids:
        return 0
    step.remove(session, ids, at)
    return ids[-1]


def kept_while_waiting(session: Session, before: datetime) -> int:
    """Return the number of images from before a time that keep everything, because they wait."""
    waiting = select(func.count()).select_from(Image).where(Image.received_at < before, _WAITS)
    return session.scalar(waiting) or 0


def images_with_bytes(before: datetime) -> Select[Any]:
    """Select the ids of images whose bytes are due."""
    return select(Image.id).where(
        Image.received_at < before,
        Image.bytes_removed_at.is_(None),
        Image.state != ImageState.ERASED,
        ~_WAITS,
    )


def hashes(session: Session, image_ids: Collection[int]) -> Mapping[int, str]:
    """Return the SHA-256 of images by their ids."""
    return dict(session.execute(select(Image.id, Image.sha256).where(Image.id.in_(image_ids))).all())


def bytes_removed(session: Session, image_ids: Collection[int], at: datetime) -> None:
    """Record that the bytes of images are gone, and remove their activation maps, which show outlines of the body."""
    update_rows(session, Image, Image.id.in_(image_ids), bytes_removed_at=at)
    of_images = Prediction.image_id.in_(image_ids)
    update_rows(session, Prediction, of_images, activation=b"", map_height=0, map_width=0)
    _record(session, "bytes_removed", "image", image_ids, at)


def _names(before: datetime) -> Select[Any]:
    return (
        select(Receipt.id)
        .join(Image, Image.id == Receipt.image_id)
        .where(Receipt.received_at < before, Receipt.original_name != ERASED, ~_WAITS)
    )


def _remove_names(session: Session, receipt_ids: Sequence[int], at: datetime) -> None:
    rows = session.execute(
        select(Receipt.image_id, Receipt.outcome).where(Receipt.id.in_(receipt_ids)).order_by(Receipt.id)
    ).all()
    chosen = Receipt.id.in_(receipt_ids)
    update_rows(session, Receipt, chosen, original_name=ERASED, received_by=None, salt=None)
    update_rows(session, Receipt, chosen & NOT_IN_INBOX, arrival=None)
    # The name of an image is a copy of the name in its first receipt.
    first = [row.image_id for row in rows if row.outcome != Outcome.DUPLICATE]
    update_rows(session, Image, Image.id.in_(first), original_name=ERASED)
    _record(session, "names_erased", "image", dict.fromkeys(row.image_id for row in rows), at)


def _run_names(before: datetime) -> Select[Any]:
    # Names that Nightread gave: a year follows `night-`.
    is_night = and_(Run.name.like("night-____-__-__"), Run.name.between("night-0", "night-:"))
    is_own = or_(is_night, Run.name == CANARY_RUN, Run.name.like("(erased %"))
    return select(Run.id).where(Run.started_at < before, ~is_own)


def _remove_run_names(session: Session, run_ids: Sequence[int], at: datetime) -> None:
    for run_id in run_ids:
        update_rows(session, Run, Run.id == run_id, name=erased_unique(run_id), salt=None)
    _record(session, "name_erased", "run", run_ids, at)


def _numbers_of_images(before: datetime) -> Select[Any]:
    numbers = or_(Instance.series_uid.is_not(None), Instance.instance_uid.is_not(None))
    images = select(Instance.image_id).join(Image, Image.id == Instance.image_id)
    return images.where(Image.received_at < before, numbers, ~_WAITS)


def _remove_numbers_of_images(session: Session, image_ids: Sequence[int], at: datetime) -> None:
    audit.append(session, studies.remove_numbers_of_images(session, image_ids), at)


def _numbers_of_studies(before: datetime) -> Select[Any]:
    numbers = or_(Study.study_uid.is_not(None), Study.accession.is_not(None))
    # A study keeps its numbers while one of its images keeps them, or has arrived since.
    kept = or_(_WAITS, Image.received_at >= before)
    images = select(Instance.id).join(Image, Image.id == Instance.image_id)
    in_use = images.where(Instance.study_id == Study.id, kept).exists()
    return select(Study.id).where(Study.added_at < before, numbers, ~in_use)


def _remove_numbers_of_studies(session: Session, study_ids: Sequence[int], at: datetime) -> None:
    audit.append(session, studies.remove_numbers_of_studies(session, study_ids), at)


def _notes(before: datetime) -> Select[Any]:
    return (
        select(Review.id)
        .join(Image, Image.id == Review.image_id)
        .where(Review.at < before, HAS_TEXT, ~_WAITS)
    )


def _remove_notes(session: Session, review_ids: Sequence[int], at: datetime) -> None:
    images = session.scalars(select(Review.image_id).where(Review.id.in_(review_ids)).order_by(Review.id))
    _record(session, "texts_erased", "image", dict.fromkeys(images), at)
    update_rows(session, Review, Review.id.in_(review_ids), **NO_TEXT)


def _retry_reasons(before: datetime) -> Select[Any]:
    return select(Image.id).where(Image.received_at < before, Image.retry_reason.is_not(None), ~_WAITS)


def _remove_retry_reasons(session: Session, image_ids: Sequence[int], at: datetime) -> None:
    update_rows(session, Image, Image.id.in_(image_ids), retry_reason=None, salt=None)
    _record(session, "texts_erased", "image", image_ids, at)


def _erasure_reasons(before: datetime) -> Select[Any]:
    return select(Erasure.id).where(Erasure.at < before, Erasure.reason != "")


def _remove_erasure_reasons(session: Session, erasure_ids: Sequence[int], at: datetime) -> None:
    images = session.scalars(select(Erasure.image_id).where(Erasure.id.in_(erasure_ids)).order_by(Erasure.id))
    _record(session, "texts_erased", "image", list(images), at)
    update_rows(session, Erasure, Erasure.id.in_(erasure_ids), reason="", salt=None)


def _access_reasons(before: datetime) -> Select[Any]:
    return (
        select(AccessReason.access_id)
        .join(AccessRecord, AccessRecord.id == AccessReason.access_id)
        .where(AccessRecord.at < before, AccessReason.reason != ERASED)
    )


def _remove_access_reasons(session: Session, access_ids: Sequence[int], at: datetime) -> None:
    update_rows(session, AccessReason, AccessReason.access_id.in_(access_ids), reason=ERASED, salt=None)
    _record_number(session, "access_reasons_erased", len(access_ids), at)


def _setting_reasons(before: datetime) -> Select[Any]:
    return select(SiteSetting.id).where(SiteSetting.at < before, SiteSetting.why != ERASED)


def _remove_setting_reasons(session: Session, setting_ids: Sequence[int], at: datetime) -> None:
    update_rows(session, SiteSetting, SiteSetting.id.in_(setting_ids), why=ERASED, salt=None)
    _record(session, "texts_erased", "site_setting", setting_ids, at)


def _sessions(before: datetime) -> Select[Any]:
    last_use = func.coalesce(BrowserSession.ended_at, BrowserSession.seen_at)
    return select(BrowserSession.id).where(last_use < before)


def _remove_sessions(session: Session, session_ids: Sequence[int], at: datetime) -> None:
    session.execute(delete(BrowserSession).where(BrowserSession.id.in_(session_ids)))
    _record_number(session, "sessions_removed", len(session_ids), at)


def _links(before: datetime) -> Select[Any]:
    return select(SignInLink.id).where(SignInLink.valid_until < before)


def _remove_links(session: Session, link_ids: Sequence[int], at: datetime) -> None:
    session.execute(delete(SignInLink).where(SignInLink.id.in_(link_ids)))
    _record_number(session, "sign_in_links_removed", len(link_ids), at)


NAMES = (
    Step(_names, _remove_names),
    Step(_run_names, _remove_run_names),
    Step(_numbers_of_images, _remove_numbers_of_images),
    Step(_numbers_of_studies, _remove_numbers_of_studies),
)
TEXT = (
    Step(_notes, _remove_notes),
    Step(_retry_reasons, _remove_retry_reasons),
    Step(_erasure_reasons, _remove_erasure_reasons),
    Step(_access_reasons, _remove_access_reasons),
    Step(_setting_reasons, _remove_setting_reasons),
)
SESSIONS = (Step(_sessions, _remove_sessions), Step(_links, _remove_links))


def record_renditions(session: Session, count: int, at: datetime) -> None:
    """Record that renditions of so many images were removed."""
    audit.lock(session)
    _record_number(session, "renditions_removed", count, at)


def _id_of(step: Step, before: datetime) -> ColumnElement[Any]:
    (column,) = step.due(before).selected_columns
    return column


def _record(session: Session, kind: str, table: str, ids: Collection[int], at: datetime) -> None:
    events = (audit.Event(kind, actors.PROGRAM, f"{table}:{row_id}", {}) for row_id in ids)
    audit.append(session, events, at)


def _record_number(session: Session, kind: str, count: int, at: datetime) -> None:
    audit.append(session, [audit.Event(kind, actors.PROGRAM, "ledger", {"count": count})], at)
