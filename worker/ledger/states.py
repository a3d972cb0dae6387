"""The life of an image, as a table. Any other transition raises.

Pure: no database. Review is a life of its own, on a scored image.
"""

from __future__ import annotations

from enum import StrEnum


class ImageState(StrEnum):
    """Where an image is on its way from the inbox to a verdict: always in exactly one state."""

    PENDING = "pending"
    LEASED = "leased"
    SCORED = "scored"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class ReviewState(StrEnum):
    """How far people have read a scored image. Second reading comes with a later version."""

    UNREAD = "unread"
    READ = "read"


class Outcome(StrEnum):
    """What became of a file that arrived; each has exactly one."""

    NEW = "new"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Lane(StrEnum):
    """The queues, most urgent first: uploads before folders."""

    URGENT = "urgent"
    OVERNIGHT = "overnight"


class Source(StrEnum):
    """How a file arrived."""

    FOLDER = "folder"
    UPLOAD = "upload"
    IMPORT = "import"
    RECOVERED = "recovered"
    CANARY = "canary"


class IllegalTransition(ValueError):  # noqa: N818 - reads as what it is
    """An image cannot go from this state to that one."""


# (from, to) -> who may do it and when; None is a file that has only just arrived.
TRANSITIONS: dict[tuple[ImageState | None, ImageState], str] = {
    (None, ImageState.PENDING): "accept: stored and committed",
    (None, ImageState.REJECTED): "accept: unreadable, over a limit, of a kind that is not taken",
    (ImageState.PENDING, ImageState.LEASED): "worker: a chunk starts",
    (ImageState.LEASED, ImageState.SCORED): "worker: prediction, verdict and audit event together",
    (ImageState.LEASED, ImageState.REJECTED): "worker: it cannot be decoded, or the gate refuses it",
    (ImageState.LEASED, ImageState.PENDING): "worker, sweeper: transient failure or expired lease",
    (ImageState.LEASED, ImageState.QUARANTINED): "worker, sweeper: attempts used up",
    (ImageState.REJECTED, ImageState.PENDING): "a person: retry, with a reason",
    (ImageState.QUARANTINED, ImageState.PENDING): "a person: retry, with a reason",
}


def check_transition(before: ImageState | None, after: ImageState) -> None:
    """Raise `IllegalTransition` unless the table has `before` -> `after`."""
    if (before, after) not in TRANSITIONS:
        raise IllegalTransition(f"an image cannot go from {before or 'nothing'} to {after}")


def after_failure(attempts: int, max_attempts: int) -> ImageState:
    """Where a leased image goes whose attempt failed: back to pending, or to quarantine."""
    return ImageState.PENDING if attempts < max_attempts else ImageState.QUARANTINED
