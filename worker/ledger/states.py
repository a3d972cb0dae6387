"""The states of an image and the allowed transitions as a table. Any other transition raises. Pure.

The reading state of an image is independent of these states.
"""

from __future__ import annotations

from enum import StrEnum


class ImageState(StrEnum):
    """The state of an image from the inbox to its verdict, or its erasure; an image is always in exactly one."""

    PENDING = "pending"
    LEASED = "leased"
    SCORED = "scored"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    ERASED = "erased"


class ReviewState(StrEnum):
    """Whether a reading of an image is in force, and whom the image waits for."""

    UNREAD = "unread"
    # Nobody has read it, and it was drawn at random to be read without its score.
    DRAWN = "drawn"
    # It waits for the second of two readers, who does not see the first reading.
    READ_ONCE = "read_once"
    # Its reader wants another reader to look.
    SECOND_OPINION = "second_opinion"
    # Two readers disagree: it waits for an adjudicator.
    DISAGREED = "disagreed"
    READ = "read"


# Nobody has read it.
NOT_READ = (ReviewState.UNREAD, ReviewState.DRAWN)
# A reading is in force in these.
HAS_READING = (
    ReviewState.READ,
    ReviewState.SECOND_OPINION,
    ReviewState.READ_ONCE,
    ReviewState.DISAGREED,
)
# Whatever its verdict, an image waits for a person in these. Its score may be hidden from that person.
WAITS_FOR_READER = (
    ReviewState.DRAWN,
    ReviewState.READ_ONCE,
    ReviewState.SECOND_OPINION,
    ReviewState.DISAGREED,
)
# The verdicts of the images that a person must read.
NEEDS_READING = ("flagged", "uncertain")


def is_to_read(review_state: str | None, verdict: str | None) -> bool:
    """Return whether an image waits for its first reading: it is flagged or uncertain, or it was drawn."""
    if review_state == ReviewState.DRAWN:
        return True
    return review_state == ReviewState.UNREAD and verdict in NEEDS_READING


class Outcome(StrEnum):
    """The outcome of a file that arrived; every file has exactly one."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Lane(StrEnum):
    """The two queues in the broker, the most urgent first: uploads before folders."""

    URGENT = "urgent"
    OVERNIGHT = "overnight"


class Source(StrEnum):
    """How a file arrived."""

    FOLDER = "folder"
    UPLOAD = "upload"
    IMPORT = "import"
    RECOVERED = "recovered"
    CANARY = "canary"
    DICOM = "dicom"


class IllegalTransition(ValueError):  # noqa: N818 - reads as what it is
    """The table of transitions does not allow this change of state."""


# (from, to) -> who may do it and when; None is a file that has just arrived.
TRANSITIONS: dict[tuple[ImageState | None, ImageState], str] = {
    (None, ImageState.PENDING): "accept: stored and committed",
    (None, ImageState.REJECTED): "accept: unreadable, over a limit, or of a kind that is not accepted",
    (ImageState.PENDING, ImageState.LEASED): "worker: a chunk starts",
    (ImageState.LEASED, ImageState.SCORED): "worker: prediction, verdict and audit event together",
    (ImageState.LEASED, ImageState.REJECTED): "worker: it cannot be decoded, or the gate rejects it",
    (ImageState.LEASED, ImageState.PENDING): "worker, sweeper: transient failure or expired lease",
    (ImageState.LEASED, ImageState.QUARANTINED): "worker, sweeper: no attempts left",
    (ImageState.SCORED, ImageState.PENDING): "worker: a newer preprocessing would crop or reject it",
    (ImageState.REJECTED, ImageState.PENDING): "a person: retry, with a reason",
    (ImageState.QUARANTINED, ImageState.PENDING): "a person: retry, with a reason",
    (ImageState.PENDING, ImageState.ERASED): "a person: erase, with a reason",
    (ImageState.LEASED, ImageState.ERASED): "a person: erase, with a reason; the worker's result is dropped",
    (ImageState.SCORED, ImageState.ERASED): "a person: erase, with a reason",
    (ImageState.REJECTED, ImageState.ERASED): "a person: erase, with a reason",
    (ImageState.QUARANTINED, ImageState.ERASED): "a person: erase, with a reason",
}


def check_transition(before: ImageState | None, after: ImageState) -> None:
    """Raise `IllegalTransition` unless the table has `before` -> `after`."""
    if (before, after) not in TRANSITIONS:
        raise IllegalTransition(f"an image cannot go from {before or 'nothing'} to {after}")


def after_failure(attempts: int, max_attempts: int) -> ImageState:
    """Return the state of a leased image after a failed attempt: pending, or quarantined after the last one."""
    return ImageState.PENDING if attempts < max_attempts else ImageState.QUARANTINED
