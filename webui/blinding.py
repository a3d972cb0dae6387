"""What the page hides from people so that the model's opinion, or another reader's, does not lead theirs.

Programs with a token, and the command line, see everything: blinding is for people who read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from webui.access import identity
from webui.queue_view import QueueView
from worker.ledger import protocols, review
from worker.ledger.protocols import Protocol
from worker.ledger.queue_order import Order
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Review

# Lists of images that were read tell nothing that their readers do not know.
_TOLD = "read"


@dataclass(frozen=True)
class Blinding:
    """What is hidden of some images from the person who asks. An image is an `Image`, or a row with its columns.

    Attributes:
        protocol: the one in force.
        applies: whether a person asks.
        own: the ids of those images that the person has read.
        user_id: the person's id; None for nobody.
    """

    protocol: Protocol
    applies: bool
    own: Collection[int] = ()
    user_id: int | None = None

    def hides_score(self, image: Any) -> bool:
        """Return whether score and verdict are hidden, and the map with them."""
        if not self.applies or image.verdict is None or image.id in self.own or _is_settled(image):
            return False
        return self.protocol.is_blind or image.drawn_rank is not None

    def hides_map(self, image: Any) -> bool:
        """Return whether the activation map is hidden."""
        if self.hides_score(image):
            return True
        waits = self.applies and image.id not in self.own and not _is_settled(image)
        return waits and self.protocol.map_is_blind

    def shows(self, image: Any, reading: Review | None) -> bool:
        """Return whether a reading of the image may be shown."""
        return reading is not None and (reading.user_id == self.user_id or not self.hides_readings(image))

    def shown_readings(self, image: Image) -> list[Review]:
        """Return the readings of a loaded image that may be shown."""
        return [reading for reading in image.reviews if self.shows(image, reading)]

    def hides_readings(self, image: Any) -> bool:
        """Return whether the readings of others are hidden: from the second reader, and from both until they agree."""
        if not self.applies:
            return False
        if image.review_state == ReviewState.READ_ONCE:
            return True
        return image.review_state == ReviewState.DISAGREED and image.id in self.own


def _is_settled(image: Any) -> bool:
    return bool(image.review_state == ReviewState.READ)


def blinding(session: Session, images: Sequence[Image]) -> Blinding:
    """Return what is hidden of these images from the person of the request."""
    who = identity.current()
    own: Collection[int] = ()
    if _is_person(who) and who.user_id is not None and images:
        own = review.read_by(session, [image.id for image in images], who.user_id)
    return Blinding(protocols.in_force(session).protocol, _is_person(who), own, who.user_id)


def blinding_of_run(session: Session, run_id: int) -> Blinding:
    """Return what is hidden of the images of a run from the person of the request."""
    who = identity.current()
    own: Collection[int] = ()
    if _is_person(who) and who.user_id is not None:
        own = review.read_in_run(session, run_id, who.user_id)
    return Blinding(protocols.in_force(session).protocol, _is_person(who), own, who.user_id)


def without_hints(session: Session, queue_view: QueueView) -> QueueView:
    """Return a list that does not tell hidden scores by its order or its filters."""
    if not _is_person(identity.current()) or not protocols.in_force(session).protocol.is_blind:
        return queue_view
    if queue_view.reading == _TOLD:
        return queue_view
    verdict = queue_view.verdict if queue_view.verdict == "any" else "to-read"
    return replace(queue_view, order=Order.OLDEST, verdict=verdict, low=None, high=None)


def _is_person(who: identity.Identity) -> bool:
    return who.scopes is None
