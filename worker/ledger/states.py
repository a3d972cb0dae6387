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
    """Whether a reading of an image is in force, and whether its reader wants another reader to look."""

    UNREAD = "unread"
    READ = "read"
    SECOND_OPINION = "second_opinion"


# A reading is in force in these.
HAS_READING = (ReviewState.READ, ReviewState.SECOND_OPINION)


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
