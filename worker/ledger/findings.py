"""What a reader says about an image, by meaning. Pure.

A finding means the same on every image, whatever the model says of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.ledger.states import ReviewState


class Action(StrEnum):
    """What a row of readings is: a reading, a change of the reader's own reading, or the end of one."""

    READ = "read"
    AMEND = "amend"
    UNDO = "undo"


class Stage(StrEnum):
    """Which reading of an image this is."""

    FIRST = "first"
    SECOND = "second"
    ADJUDICATION = "adjudication"


class Finding(StrEnum):
    """The finding of a reading."""

    SIGNS = "signs_of_pneumonia"
    NO_SIGNS = "no_signs"
    NOT_JUDGED = "cannot_be_judged"
    SECOND_OPINION = "second_opinion"


class NotJudged(StrEnum):
    """Why an image cannot be judged."""

    INADEQUATE = "technically_inadequate"
    WRONG_VIEW = "wrong_view"
    NOT_A_CHEST = "not_a_chest"


@dataclass(frozen=True)
class Statement:
    """What a reader says about an image.

    Attributes:
        finding: by meaning.
        reason: why the image cannot be judged; None with every other finding.
        note: a comment in the reader's words.
        other_finding: something else that the reader saw, in the reader's words.

    Raises ValueError if finding and reason do not fit each other.
    """

    finding: Finding
    reason: NotJudged | None = None
    note: str = ""
    other_finding: str = ""

    def __post_init__(self) -> None:
        """Check that exactly the images that cannot be judged have a reason."""
        if (self.finding is Finding.NOT_JUDGED) != (self.reason is not None):
            raise ValueError(
                f"a reason belongs to the finding {Finding.NOT_JUDGED.value}, and to no other:"
                f" {', '.join(NotJudged)}"
            )


@dataclass(frozen=True)
class Seen:
    """What the reader had in front of them. None: not known.

    Attributes:
        prediction_id: the prediction that was shown; 0 if the image had no score.
        score_shown: whether the score could be seen.
        map_shown: whether the activation map was shown at any moment.
        open_ms: milliseconds for which the picture was on the screen.
    """

    prediction_id: int | None = None
    score_shown: bool | None = None
    map_shown: bool | None = None
    open_ms: int | None = None


NOT_KNOWN = Seen()


def state_after(
    finding: str | None, stage: Stage = Stage.FIRST, *, readers: int = 1, first_finding: str | None = None
) -> ReviewState:
    """Return the reading state of an image after a reading.

    `readers` is the number of readers that the protocol asks for, `first_finding` the finding that a second reading is
    compared with. A second reader who wants another opinion disagrees.
    """
    if stage is Stage.ADJUDICATION:
        return ReviewState.READ
    if stage is Stage.SECOND:
        agrees = finding == first_finding and finding != Finding.SECOND_OPINION
        return ReviewState.READ if agrees else ReviewState.DISAGREED
    if finding == Finding.SECOND_OPINION:
        return ReviewState.SECOND_OPINION
    return ReviewState.READ_ONCE if readers > 1 else ReviewState.READ
