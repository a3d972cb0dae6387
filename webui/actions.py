"""The actions of a reader on an image, from a page or over the API: claim, decide, undo, retry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from flask import abort

from webui.access import identity
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.queue_view import QueueView, cursor_of
from worker.ledger import leases, reading_queue, rescores, review
from worker.ledger.review import Action
from worker.ledger.session import ledger_time
from worker.ledger.states import IllegalTransition, Lane
from worker.ledger.tables import Image, Review, User

BROKER_UNREACHABLE = (
    "The broker cannot be reached. The images are stored. Nightread will queue them later, automatically."
)
# The third action, undo, has a request of its own.
_DECISIONS = (Action.CONFIRM.value, Action.OVERRIDE.value)
_MAX_NOTE = 2_000
MAX_REASON = 1_000


def decide(
    image_id: int, action: str, note: str, queue_view: QueueView, seen_prediction_id: int | None = None
) -> tuple[Review, int | None]:
    """Record a reading of the image. `seen_prediction_id` is the prediction that the reader saw, if it is known.

    Answers 404 for an unknown image and 400 for an unknown action.

    Returns:
        The reading, with its user and image loaded, and the id of the next image of the reader's list.

    Raises:
        ReviewRefused: the image has been read, has no score, was scored again, or another reader has claimed it.
        NoName: the reader has not entered a name.
    """
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader = session.get_one(User, identity.current().named_user_id)
        image = session.get(Image, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        if action not in _DECISIONS:
            raise ValueError(f"the action must be {' or '.join(_DECISIONS)}")
        note = cleaned_text(note, _MAX_NOTE)
        reading = review.decide(
            session,
            image_id,
            reader_id=reader.id,
            action=Action(action),
            note=note,
            at=at,
            seen_prediction_id=seen_prediction_id,
        )
        reading.user, reading.image = reader, image
        next_id = reading_queue.next_unread(
            session, queue_view.unread, after=cursor_of(image), reader_id=reader.id, at=at
        )
    return reading, next_id


def claim(image_id: int) -> bool:
    """Claim the image for the reader and release the reader's other claims.

    Returns False if the image needs no reading or if another reader has claimed it. Raises NoName.
    """
    claim_s = dependencies().settings.claim_s
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader_id = identity.current().named_user_id
        return review.claim(session, image_id, reader_id=reader_id, claim_s=claim_s, at=at)


def mark_seen(rescore_ids: Sequence[int]) -> int:
    """Record that the reader has seen images that were scored again. Return how many were unseen. Raises NoName."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        reader_id = identity.current().named_user_id
        return rescores.mark_seen(session, rescore_ids, reader_id=reader_id, at=at)


def undo() -> int:
    """Undo the reader's last reading and return the id of its image. Raises ReviewRefused, NoName."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        at = ledger_time(session)
        return review.undo(session, reader_id=identity.current().named_user_id, at=at)


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
