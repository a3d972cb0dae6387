"""Which images are drawn at random, to be read without their scores.

A share of the clear images is drawn, so that people find what the model misses and its sensitivity can be estimated.
An equal number of flagged images is drawn beside them: a reader cannot tell from a hidden score what it is. Each drawn
image stands at a random place of the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger import protocols
from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, ImageTally, Run

_SAMPLED, _BESIDE = "clear", "flagged"


def draw(session: Session, verdicts: Mapping[int, str], random: Random) -> dict[int, float]:
    """Draw from the images of a chunk, with their verdicts by id. Return the place of each drawn one, in [0, 1).

    The transaction must have locked the audit trail: the tallies must not change meanwhile.
    """
    share = protocols.in_force(session).protocol.sample_share
    canaries = _canaries(session, list(verdicts))
    verdicts = {image_id: verdict for image_id, verdict in verdicts.items() if image_id not in canaries}
    sampled = [
        image_id for image_id, verdict in verdicts.items() if verdict == _SAMPLED and random.random() < share
    ]
    missing = missing_beside(session, len(sampled))
    flagged = [image_id for image_id, verdict in verdicts.items() if verdict == _BESIDE]
    beside = random.sample(flagged, max(0, min(missing, len(flagged))))
    return {image_id: random.random() for image_id in (*sampled, *beside)}


def missing_beside(session: Session, sampled: int) -> int:
    """Return how many flagged images must be drawn so that as many wait as clear ones with `sampled` more of these."""
    return _waiting(session, _SAMPLED) + sampled - _waiting(session, _BESIDE)


def _canaries(session: Session, image_ids: Sequence[int]) -> set[int]:
    """Return which of these images Nightread has drawn itself, to test every part: nobody reads them."""
    of_canaries = select(Image.id).join(Run, Run.id == Image.run_id).where(Run.name == CANARY_RUN)
    return set(session.scalars(of_canaries.where(Image.id.in_(image_ids))))


def _waiting(session: Session, verdict: str) -> int:
    """Return how many drawn images with a verdict nobody has read."""
    drawn = ImageTally.review_state == ReviewState.DRAWN, ImageTally.verdict == verdict
    return int(session.scalar(select(func.sum(ImageTally.total)).where(*drawn)) or 0)
