"""The actions of a reader on an image, from a page or over the API: claim, take over, decide, change, undo, retry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flask import abort
from sqlalchemy.orm import Session

from webui.access import identity
from webui.access.permissions import Permission
from webui.blinding import Blinding, blinding
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.queue_view import QueueView, cursor_of
from worker.ledger import claims, leases, reading_queue, rescores, review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.repeats import recorded_before
from worker.ledger.session import ledger_time
from worker.ledger.states import IllegalTransition, ImageState, Lane
from worker.ledger.tables import Image, Review, User

BROKER_UNREACHABLE = (
    "The broker cannot be reached. The images are stored. Nightread will queue them later, automatically."
)
MAX_NOTE = 2_000
MAX_REASON = 1_000


def statement(finding: str, reason: str, note: str, other_finding: str) -> Statement:
    """Return what the reader says about an image, from what was sent. Raises ValueError, with a sentence."""
    if finding not in set(Finding):
        raise ValueError(f"the finding must be one of {', '.join(Finding)}")
    if reason and reason not in set(NotJudged):
        raise ValueError(f"the reason must be one of {', '.join(NotJudged)}")
    return Statement(
        Finding(finding),
        NotJudged(reason) if reason else None,
        cleaned_text(note, MAX_NOTE),
        cleaned_text(other_finding, MAX_NOTE),
    )


@dataclass(frozen=True)
class Decided:
    """A recorded reading.

    Attributes:
        reading: with its user and image loaded.
        next_id: the id of the next image of the reader's list; None after an image without a score, which is in no list.
        reveals: whether the reader decided without the score because of the protocol, and sees it now.
    """

    reading: Review
    next_id: int | None
    reveals: bool = False


def decide(image_id: int, said: Statement, seen: Seen, queue_view: QueueView) -> Decided:
    """Record a reading of the image. Answers 404 for an unknown image.

    Raises:
        ReviewRefused: the image has been read, cannot be read, was scored again, or another reader has claimed it.
        NoName: the reader has not entered a name.
    """
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader = session.get_one(User, identity.current().named_user_id)
        image = session.get(Image, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        hidden = blinding(session, [image])
        seen = _shown(hidden, image, seen)
        before = recorded_before(session, image_id, reader_id=reader.id, statement=said, seen=seen)
        # The answer to a reading that is sent again was lost, and with it the score.
        was_hidden = hidden.hides_score(image) or before is not None
        reading = before or review.decide(
            session,
            image_id,
            reader_id=reader.id,
            statement=said,
            at=at,
            seen=seen,
            adjudicates=identity.current().may(Permission.ADJUDICATE),
        )
        reading.user, reading.image = reader, image
        if image.state != ImageState.SCORED:
            return Decided(reading, None)
        next_id = reading_queue.next_unread(
            session, queue_view.unread, after=cursor_of(image), reader_id=reader.id, at=at
        )
    reveals = hidden.protocol.is_blind and was_hidden and not reading.score_shown
    return Decided(reading, next_id, reveals)


def _shown(hidden: Blinding, image: Image, seen: Seen) -> Seen:
    """Return what the reader saw. Where the request does not say it, they did not see what is hidden now.

    A page that says that it showed the score may be older than the protocol. Nobody gains by saying so: figures of
    readings that were made with the score are marked.
    """
    if seen.score_shown is None and hidden.hides_score(image):
        seen = replace(seen, score_shown=False)
    if seen.map_shown is None and hidden.hides_map(image):
        seen = replace(seen, map_shown=False)
    return seen


def amend(image_id: int, review_id: int, said: Statement, seen: Seen, why: str) -> Review:
    """Change the reader's own reading of the image, and return the new one, with its user and image loaded.

    Answers 400 without a reason, and for a reading of another image. Raises ReviewRefused, NoName.
    """
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader = session.get_one(User, identity.current().named_user_id)
        reason = cleaned_text(why, MAX_REASON)
        reading = recorded_before(
            session,
            image_id,
            reader_id=reader.id,
            statement=said,
            seen=seen,
            amends=review_id,
            why=reason,
        ) or review.amend(
            session, review_id, reader_id=reader.id, statement=said, why=reason, at=at, seen=seen
        )
        if reading.image_id != image_id:
            raise ValueError("this reading is of another image")
        reading.user, reading.image = reader, session.get_one(Image, image_id)
    return reading


def claim(image_id: int, *, renews: bool = False) -> datetime | None:
    """Claim the image for the reader and release the reader's other claims, unless an open page renews its claim.

    Returns the end of the claim; None if the reader may not read the image or if another one has claimed it. Raises NoName.
    """
    claim_s = dependencies().settings.claim_s
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader_id = identity.current().named_user_id
        is_claimed = review.claim(
            session,
            image_id,
            reader_id=reader_id,
            claim_s=claim_s,
            at=at,
            adjudicates=identity.current().may(Permission.ADJUDICATE),
            renews=renews,
        )
    return at + timedelta(seconds=claim_s) if is_claimed else None


def release(image_id: int, until: datetime | None) -> None:
    """End the reader's claim on the image: with `until`, only the claim that ends then. Raises NoName."""
    with dependencies().ledger.transaction() as session:
        claims.release(session, image_id, reader_id=identity.current().named_user_id, until=until)


def take_over(image_id: int, holder_id: int) -> str | None:
    """Claim an image that another reader holds. Return the other's name; None if their claim had ended.

    Raises ReviewRefused, NoName.
    """
    claim_s = dependencies().settings.claim_s
    with dependencies().ledger.transaction() as session:
        at, reader_id = ledger_time(session), identity.current().named_user_id
        is_taken = claims.take_over(
            session,
            image_id,
            reader_id=reader_id,
            holder_id=holder_id,
            claim_s=claim_s,
            at=at,
            adjudicates=identity.current().may(Permission.ADJUDICATE),
        )
        return session.get_one(User, holder_id).name if is_taken else None


def mark_seen(rescore_ids: Sequence[int]) -> int:
    """Record that the reader has seen images that were scored again. Return how many were unseen. Raises NoName."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader_id = identity.current().named_user_id
        return rescores.mark_seen(session, rescore_ids, reader_id=reader_id, at=at)


def undo(review_id: int | None, seen: Seen) -> Review:
    """Take a reading of the reader back: this one, or the last. Return it, with its image loaded.

    Raises ReviewRefused, NoName.
    """
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader_id = identity.current().named_user_id
        undone = review.undo(session, reader_id=reader_id, at=at, review_id=review_id, seen=seen)
        undone.image = session.get_one(Image, undone.image_id)
    return undone


def undoable(session: Session) -> Review | None:
    """Return the reading that the reader could take back next, with its image; None if there is none."""
    who = identity.current()
    if not who.may(Permission.READ) or who.user_id is None or who.name is None:
        return None
    return review.undoable(session, who.user_id)


def retry(image_id: int, reason: str) -> bool:
    """Make an image pending again and queue it. Return False if the broker is away: it is queued later.

    Answers 404 for an unknown image, 400 without a reason.

    Raises:
        IllegalTransition: the image is neither rejected nor quarantined.
    """
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        who = identity.current().actor
        try:
            lane = leases.retry(session, image_id, who=who, why=cleaned_text(reason, MAX_REASON), at=at)
        except LookupError:
            abort(404, f"There is no image {image_id}.")
    return dependencies().dispatcher.publish([image_id], lane)


def retry_all(image_ids: Sequence[int], reason: str) -> tuple[int, bool]:
    """Make several images pending again for one reason, and queue them.

    An image that is no longer rejected or quarantined, or whose bytes are not kept, stays as it is.

    Returns:
        How many are pending again, and whether the broker took them: otherwise they are queued later.
    """
    lanes: dict[Lane, list[int]] = {}
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        who, why = identity.current().actor, cleaned_text(reason, MAX_REASON)
        for image_id in image_ids:
            with suppress(IllegalTransition, LookupError):
                lane = leases.retry(session, image_id, who=who, why=why, at=at)
                lanes.setdefault(lane, []).append(image_id)
    queued = [dependencies().dispatcher.publish(ids, lane) for lane, ids in lanes.items()]
    return sum(map(len, lanes.values())), all(queued)


def cleaned_text(text: str, max_length: int) -> str:
    """Return text without NUL characters, with LF line ends, stripped. Raises ValueError if it is too long."""
    cleaned = text.replace("\x00", "").replace("\r\n", "\n").strip()
    if len(cleaned) > max_length:
        raise ValueError(f"the text is too long: the limit is {max_length:,} characters")
    return cleaned
