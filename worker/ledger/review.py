"""Readings: claims, decisions, changes, undo.

The row of a reading is never changed. A change adds a row that supersedes another one, and undo adds a row that names the
reading that it takes back. The reading in force of an image is the last one that nobody took back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session, aliased, joinedload

from worker.ledger import actors, audit, protocols
from worker.ledger.findings import NOT_KNOWN, Action, Finding, Seen, Stage, Statement, state_after
from worker.ledger.seals import new_salt, seal
from worker.ledger.states import HAS_READING, ImageState, ReviewState
from worker.ledger.tables import Image, Prediction, Review

# What a person reads without a score: the gate rejected it, or scoring failed.
_WITHOUT_SCORE = (ImageState.REJECTED, ImageState.QUARANTINED)


class ReviewRefused(Exception):  # noqa: N818 - an outcome with a sentence for the reader
    """The reading cannot be recorded now; the message says why."""


def is_readable(image: Image) -> bool:
    """Return whether a person can read an image: it has a score, or a picture that was not scored."""
    if image.state == ImageState.SCORED:
        return image.verdict is not None
    return image.state in _WITHOUT_SCORE and image.format is not None and image.bytes_removed_at is None


def why_not(session: Session, image: Image | None, *, reader_id: int | None, adjudicates: bool) -> str | None:
    """Return why a reader may not read an image now, as a sentence; None if it waits for them.

    A person whose reading led to the one in force has had their turn. On an image on which two readers disagree,
    another person who `adjudicates` decides.
    """
    if image is None or not is_readable(image):
        return _why_unreadable(image)
    earlier = standing_reviews(session, [image]).get(image.id)
    if earlier is not None and earlier.user_id == reader_id:
        return "You have already read this image. You can change your reading."
    if image.review_state == ReviewState.READ:
        return "This image has already been read."
    if _took_part(session, earlier, reader_id):
        return "You have already read this image. It waits for another person."
    if image.review_state == ReviewState.DISAGREED and not adjudicates:
        return "Two readers disagree on this image. An adjudicator decides."
    return None


def claim(
    session: Session,
    image_id: int,
    *,
    reader_id: int,
    claim_s: float,
    at: datetime,
    adjudicates: bool = False,
    renews: bool = False,
) -> bool:
    """Claim an image for a reader for `claim_s` seconds and release the reader's other claims.

    A page that renews its claim releases no other: the reader may have opened another image since, beside it.

    Returns False if the reader may not read the image or if another reader has claimed it.
    """
    if not renews:
        # A reader looks at one image at a time: a skipped image is free for others at once.
        session.execute(
            update(Image)
            .where(Image.claimed_by_id == reader_id, Image.id != image_id)
            .values(claimed_by_id=None, claimed_until=None)
            .execution_options(synchronize_session=False)
        )
    image = session.scalars(select(Image).where(Image.id == image_id).with_for_update()).one_or_none()
    if image is None or why_not(session, image, reader_id=reader_id, adjudicates=adjudicates):
        return False
    if image.claimed_by_id not in {None, reader_id} and image.claimed_until and image.claimed_until > at:
        return False
    image.claimed_by_id, image.claimed_until = reader_id, at + timedelta(seconds=claim_s)
    return True


def decide(
    session: Session,
    image_id: int,
    *,
    reader_id: int,
    statement: Statement,
    at: datetime,
    seen: Seen = NOT_KNOWN,
    adjudicates: bool = False,
) -> Review:
    """Record a reading.

    Raises ReviewRefused if the reader may not read this image now (`why_not`), or another reader has claimed it.
    """
    audit.lock(session)
    image = session.get(Image, image_id)
    refusal = why_not(session, image, reader_id=reader_id, adjudicates=adjudicates)
    if image is None or refusal:
        raise ReviewRefused(refusal)
    earlier = standing_reviews(session, [image]).get(image_id)
    stage = _stage(image)
    if stage is Stage.ADJUDICATION:
        _check_adjudication(statement)
    if image.claimed_by_id not in {None, reader_id} and image.claimed_until and image.claimed_until > at:
        raise ReviewRefused("Another reader has claimed this image.")
    reading = _new_reading(session, image, statement, seen, earlier)
    reading.action, reading.user_id, reading.at = Action.READ, reader_id, at
    reading.stage, reading.protocol_id = stage, protocols.in_force(session).id
    _lead(session, image, reading, _chain(session, earlier))
    return _record(session, image, reading, earlier)


def amend(
    session: Session,
    review_id: int,
    *,
    reader_id: int,
    statement: Statement,
    why: str,
    at: datetime,
    seen: Seen = NOT_KNOWN,
) -> Review:
    """Change a reader's own reading, with a reason: add the new one, which supersedes it.

    Raises ReviewRefused if it is not the reader's own reading in force, ValueError if `why` is empty.
    """
    if not why.strip():
        raise ValueError("a change of a reading needs a reason")
    audit.lock(session)
    earlier, image = _own_in_force(session, review_id, reader_id)
    reading = _new_reading(session, image, statement, seen, earlier)
    reading.action, reading.user_id, reading.at, reading.why = Action.AMEND, reader_id, at, why
    reading.stage, reading.protocol_id = earlier.stage, earlier.protocol_id
    if earlier.stage == Stage.ADJUDICATION:
        _check_adjudication(statement)
    _lead(session, image, reading, _chain(session, earlier))
    return _record(session, image, reading, earlier)


def undo(
    session: Session,
    *,
    reader_id: int,
    at: datetime,
    review_id: int | None = None,
    seen: Seen = NOT_KNOWN,
) -> Review:
    """Take a reading back, and return it: the reader's last one, unless `review_id` names another.

    The reading that it superseded is in force again; without one, the image is unread again.

    Raises ReviewRefused if there is nothing to undo, or it is not the reader's own reading in force.
    """
    audit.lock(session)
    chosen = review_id if review_id is not None else session.scalar(_last_of(reader_id))
    if chosen is None:
        raise ReviewRefused("There is nothing to undo.")
    undone, image = _own_in_force(session, chosen, reader_id)
    restored = session.get(Review, undone.supersedes_id) if undone.supersedes_id else None
    reading = Review(
        image_id=image.id,
        prediction_id=undone.prediction_id,
        user_id=reader_id,
        action=Action.UNDO,
        undoes_id=undone.id,
        note="",
        at=at,
        **_visibility(seen),
    )
    session.add(reading)
    image.review_state = _leads_to(restored) if restored else _unread(image)
    session.flush()
    details = {
        "review": reading.id,
        "undoes": undone.id,
        **_before(undone),
        "restores": restored.id if restored else None,
        "finding_after": restored.finding if restored else None,
        **_visibility(seen),
    }
    audit.append(
        session, [audit.Event("read_undone", actors.user(reader_id), f"image:{image.id}", details)], at
    )
    return undone


def undoable(session: Session, reader_id: int) -> Review | None:
    """Return the reader's last reading, with its image, if it is in force; None if there is nothing to undo."""
    last = session.scalars(
        select(Review)
        .where(Review.id == _last_of(reader_id).scalar_subquery())
        .options(joinedload(Review.image))
    ).one_or_none()
    in_force = last is not None and standing_reviews(session, [last.image]).get(last.image_id) is last
    return last if in_force else None


def standing_reviews(session: Session, images: Iterable[Image]) -> dict[int, Review]:
    """Return the reading in force of each image that was read, by the image's id.

    Only this row is loaded, however many readings an image has; see `docs/reliability.md`, "What a page loads".
    """
    read = [image.id for image in images if image.review_state in HAS_READING]
    last = last_readings().where(Review.image_id.in_(read))
    readings = select(Review).where(Review.id.in_(last)).options(joinedload(Review.user))
    return {reading.image_id: reading for reading in session.scalars(readings)} if read else {}


def read_by(session: Session, image_ids: Sequence[int], reader_id: int) -> set[int]:
    """Return which of these images a reader has read at any time, whether or not the reading was taken back."""
    read = Review.image_id.in_(image_ids), Review.user_id == reader_id
    return set(session.scalars(select(Review.image_id).where(*read).distinct()))


def read_in_run(session: Session, run_id: int, reader_id: int) -> set[int]:
    """Return which images of a run a reader has read at any time."""
    read = select(Review.image_id).join(Image, Image.id == Review.image_id)
    return set(session.scalars(read.where(Image.run_id == run_id, Review.user_id == reader_id).distinct()))


def last_readings() -> Select[Any]:
    """Select the id of the last reading of each image that nobody took back. It is in force if the image was read."""
    return select(func.max(Review.id)).where(_is_not_undone()).group_by(Review.image_id)


def _is_not_undone() -> ColumnElement[bool]:
    later = aliased(Review)
    taken_back = select(later.id).where(later.undoes_id == Review.id).exists()
    return (Review.action != Action.UNDO) & ~taken_back


def _last_of(reader_id: int) -> Select[Any]:
    return (
        select(Review.id)
        .where(Review.user_id == reader_id, _is_not_undone())
        .order_by(Review.id.desc())
        .limit(1)
    )


def _own_in_force(session: Session, review_id: int, reader_id: int) -> tuple[Review, Image]:
    """Return a reading and its image. Raises ReviewRefused unless it is the reader's own and in force."""
    reading = session.get(Review, review_id)
    if reading is None or reading.user_id != reader_id or reading.action == Action.UNDO:
        raise ReviewRefused("This is no reading of yours.")
    image = session.get_one(Image, reading.image_id)
    if standing_reviews(session, [image]).get(image.id) is reading:
        return reading, image
    if session.scalar(select(Review.id).where(Review.undoes_id == review_id)) is not None:
        raise ReviewRefused("You have already taken this reading back.")
    if reading.prediction_id != _prediction_id(session, image) or image.review_state not in HAS_READING:
        raise ReviewRefused("Your reading is not in force any more: its image was scored again.")
    raise ReviewRefused("Your reading is not in force any more: a later one is.")


def _prediction_id(session: Session, image: Image) -> int | None:
    """Return the prediction in force; None if the image has no score."""
    if image.state != ImageState.SCORED:
        return None
    return session.scalar(select(func.max(Prediction.id)).where(Prediction.image_id == image.id))


def _new_reading(
    session: Session, image: Image, statement: Statement, seen: Seen, earlier: Review | None
) -> Review:
    """Return a reading that is not added yet. Raises ReviewRefused if the reader saw another score."""
    prediction_id = _prediction_id(session, image)
    if seen.prediction_id is not None and seen.prediction_id != (prediction_id or 0):
        raise ReviewRefused("This image was scored again in the meantime. Look at its new score first.")
    return Review(
        image_id=image.id,
        prediction_id=prediction_id,
        finding=statement.finding,
        reason_code=statement.reason,
        note=statement.note,
        other_finding=statement.other_finding,
        why="",
        salt=new_salt(),
        supersedes_id=earlier.id if earlier else None,
        **_visibility(seen),
    )


def _chain(session: Session, last: Review | None) -> list[Review]:
    """Return the readings that led to the one in force, the last one first."""
    chain = []
    while last is not None:
        chain.append(last)
        last = session.get(Review, last.supersedes_id) if last.supersedes_id else None
    return chain


def _took_part(session: Session, last: Review | None, reader_id: int | None) -> bool:
    """Return whether a reading of this person led to the one in force."""
    return any(reading.user_id == reader_id for reading in _chain(session, last))


def _stage(image: Image) -> Stage:
    stages = {ReviewState.READ_ONCE: Stage.SECOND, ReviewState.DISAGREED: Stage.ADJUDICATION}
    return (
        Stage.FIRST
        if image.review_state is None
        else stages.get(ReviewState(image.review_state), Stage.FIRST)
    )


def _check_adjudication(statement: Statement) -> None:
    """Raise ReviewRefused unless the adjudicator ends the disagreement."""
    if statement.finding is Finding.SECOND_OPINION:
        raise ReviewRefused("An adjudicator decides: no further opinion can be asked for.")


def _lead(session: Session, image: Image, reading: Review, chain: Sequence[Review]) -> None:
    """Set the reading state to which a reading leads, after the readings of `chain`."""
    # An image without a score is read once.
    readers = protocols.of(session, reading.protocol_id).readers if image.state == ImageState.SCORED else 1
    stage = Stage(reading.stage or Stage.FIRST)
    first = next((one.finding for one in chain if (one.stage or Stage.FIRST) == Stage.FIRST), None)
    reading.leads_to = state_after(reading.finding, stage, readers=readers, first_finding=first)


def _leads_to(reading: Review) -> str:
    """Return the reading state while a reading is in force. Earlier versions did not record it."""
    return reading.leads_to or state_after(reading.finding)


def _unread(image: Image) -> ReviewState | None:
    """Return the reading state of an image that nobody has read."""
    if image.state != ImageState.SCORED:
        return None
    return ReviewState.UNREAD if image.drawn_rank is None else ReviewState.DRAWN


def _record(session: Session, image: Image, reading: Review, earlier: Review | None) -> Review:
    """Add a reading and its event, and say on the image that it was read."""
    image.claimed_by_id = image.claimed_until = None
    image.review_state = _leads_to(reading)
    session.add(reading)
    session.flush()
    salt = reading.salt or ""
    details = {
        "review": reading.id,
        "prediction": reading.prediction_id,
        "finding": reading.finding,
        "reason": reading.reason_code,
        "note_seal": seal(salt, reading.note),
        **_seals(salt, other_finding=reading.other_finding, why=reading.why),
        "supersedes": reading.supersedes_id,
        "stage": reading.stage,
        "leads_to": reading.leads_to,
        "protocol": reading.protocol_id,
        **_before(earlier),
        "score_shown": reading.score_shown,
        "map_shown": reading.map_shown,
        "open_ms": reading.open_ms,
    }
    kind = "read_amended" if reading.action == Action.AMEND else "read"
    event = audit.Event(kind, actors.user(reading.user_id), f"image:{image.id}", details)
    audit.append(session, [event], reading.at)
    return reading


def _visibility(seen: Seen) -> dict[str, bool | int | None]:
    return {"score_shown": seen.score_shown, "map_shown": seen.map_shown, "open_ms": seen.open_ms}


def _seals(salt: str, **texts: str) -> dict[str, object]:
    """Return the seals of texts that are not empty."""
    return {f"{name}_seal": seal(salt, text) for name, text in texts.items() if text}


def _before(earlier: Review | None) -> dict[str, object]:
    """Return what an event says of the reading that was in force before."""
    return {
        "finding_before": earlier.finding if earlier else None,
        "reason_before": earlier.reason_code if earlier else None,
    }


def _why_unreadable(image: Image | None) -> str:
    if image is not None and image.state in _WITHOUT_SCORE:
        return "This file has no picture that a person could read."
    return "This image has not been scored."
