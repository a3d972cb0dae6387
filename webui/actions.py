"""What a person does with an image, from a page or over the API: decide, undo, try again."""

from __future__ import annotations

from flask import abort

from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from webui.queue_view import QueueView, cursor_of
from webui.readers import acting_reader
from worker.ledger import leases, review
from worker.ledger.review import Action
from worker.ledger.session import utc_now
from worker.ledger.tables import Image, Review

LATER = "The queue cannot be reached just now. What arrived is kept and will be queued by itself."
# An undo is an act of its own: see `undo`.
_VERDICTS = (Action.CONFIRM.value, Action.OVERRIDE.value)
_LONGEST_NOTE = 2_000
_LONGEST_REASON = 1_000


def decide(image_id: int, action: str, note: str, queue_view: QueueView) -> tuple[Review, int | None]:
    """Record the reader's verdict; the act, and the next image of their list.

    Answers 404 for an unknown image and 400 for an unknown action. Raises ReviewRefused when
    the image is not theirs to read now, NoReader when they have not said who they are.
    """
    at = utc_now()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        reader = acting_reader(session, at)
        image = session.get(Image, image_id)
        if image is None:
            abort(404, f"There is no image {image_id}.")
        if action not in _VERDICTS:
            raise ValueError(f"the action is one of {', '.join(_VERDICTS)}")
        said = text_within(note, _LONGEST_NOTE)
        act = review.decide(session, image_id, reader_id=reader.id, action=Action(action), note=said, at=at)
        act.user, act.image = reader, image
        following = review.next_unread(
            session, queue_view.unread, after=cursor_of(image), reader_id=reader.id, at=at
        )
    return act, following


def undo() -> int:
    """Take back the reader's last verdict; the id of its image. Raises ReviewRefused, NoReader."""
    at = utc_now()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        return review.undo(session, reader_id=acting_reader(session, at).id, at=at)


def try_again(image_id: int, reason: str) -> bool:
    """Put an image back and queue it; False when the broker is out of reach and it waits.

    Answers 404 for an unknown image, 400 without a reason. Raises IllegalTransition for one
    that was not turned away, NoReader when the person has not said who they are.
    """
    at = utc_now()
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        who = f"user:{acting_reader(session, at).id}"
        try:
            lane = leases.retry(session, image_id, who=who, why=text_within(reason, _LONGEST_REASON), at=at)
        except LookupError:
            abort(404, f"There is no image {image_id}.")
    return dependencies().dispatcher.publish([image_id], lane)


def text_within(text: str, most: int) -> str:
    """What a person wrote, as it is kept. Raises ValueError when it is too long."""
    kept = text.replace("\x00", "").replace("\r\n", "\n").strip()
    if len(kept) > most:
        raise ValueError(f"at most {most:,} characters are kept")
    return kept
