"""Says which share of the clear images like one was drawn: for how many images a drawn one stands follows from it.

A worker draws from the images that it scores as clear, with the share of the protocol. A re-triage draws from those that it
makes clear. An image that was drawn or read keeps its verdict. So a re-triage that no longer calls a score clear leaves the
drawn images behind: all others like them are to be read, and each drawn one stands for itself alone. Its share is 1.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, or_, select
from sqlalchemy.orm import Session

from worker.card.band import is_never_clear
from worker.ledger import protocols
from worker.ledger.point_groups import Traits
from worker.ledger.protocols import Protocol
from worker.ledger.retriage_rule import Rule
from worker.ledger.states import NEEDS_READING
from worker.ledger.tables import RARE_KIND, AuditEvent, Image, Model, Prediction, Receipt, Study

# All images like one are read.
ALL = 1.0
# What `DrawnShares.of` needs of an image and its prediction in force; and of its patient, see `group_traits.with_traits`.
COLUMNS = (
    *(Image.id, Image.run_id, Image.received_at, Image.scored_at, Image.p_pneumonia),
    *(Image.population, Image.distance, Image.drawn_rank, Image.operating_point_id),
    *(Prediction.model_id, Prediction.verdict.label("first_verdict"), Prediction.crop_left),
)
TRAITS = Study.age_years, Receipt.source
# More changes of a protocol than any site makes.
_CHANGES = 1_000


@dataclass(frozen=True)
class _Retriage:
    """A re-triage of the images of a model to an operating point."""

    at: datetime
    model_id: int | None
    operating_point_id: str
    rule: Rule

    def is_after(self, image: Any) -> bool:
        """Return whether the image had its score by then, from this model."""
        return bool(self.at >= image.scored_at and self.model_id == image.model_id)

    def is_about(self, image: Any) -> bool:
        """Return whether it changed the image, or would have if nobody had drawn or read it before."""
        # Also if another age became known since.
        traits = Traits(image.age_years, image.source)
        return self.put(image) or self.rule.covers(image.run_id, image.received_at, traits)

    def put(self, image: Any) -> bool:
        """Return whether the image follows this point."""
        return str(image.operating_point_id) == self.operating_point_id

    def drew(self, image: Any) -> bool:
        """Return whether a drawn image has its place from this draw."""
        return bool(image.drawn_rank == self.rule.rank(image.id))

    def is_clear(self, image: Any) -> bool:
        """Return whether an image with this score is clear at the point."""
        never_clear = is_never_clear(image.population, image.distance)
        cropped = image.crop_left is not None
        verdict = self.rule.bounds.verdict(image.p_pneumonia, cropped=cropped, never_clear=never_clear)
        return verdict not in NEEDS_READING


class DrawnShares:
    """The shares of clear images that were drawn, by protocol and re-triages."""

    def __init__(self, session: Session) -> None:
        """Read the changes of the protocol, and the re-triages."""
        history = [(row.at, made) for row, made in reversed(protocols.history(session, limit=_CHANGES))]
        self._since = [at for at, _ in history]
        self._shares = [made.sample_share for made in (Protocol(), *(made for _, made in history))]
        self._retriages = _retriages(session)

    def at(self, when: datetime) -> float:
        """Return the share of the protocol at a time, in [0, 1]."""
        return self._shares[bisect_right(self._since, when)]

    def changed(self, first: datetime, last: datetime) -> bool:
        """Return whether the protocol had more than one share from one time to another."""
        places = slice(bisect_right(self._since, first), bisect_right(self._since, last) + 1)
        return len(set(self._shares[places])) > 1

    def may_differ(self, since: datetime) -> ColumnElement[bool] | None:
        """Return the condition of clear images whose share may be another than the protocol's at the time of their score.

        It is for images that were scored at `since` or later, joined with their predictions in force. None: there is no such
        image.
        """
        bounds = [one.rule.bounds for one in self._retriages if one.at >= since]
        if not bounds:
            return None
        whole, cropped = (
            min(one.clear_below for one in bounds),
            min(one.clear_below_if_cropped for one in bounds),
        )
        limit = case((Prediction.crop_left.is_(None), whole), else_=cropped)
        return or_(Prediction.verdict.in_(NEEDS_READING), Image.p_pneumonia >= limit)

    def of(self, image: Any) -> float:
        """Return the share, in [0, 1], of the clear images like one that was drawn. `image` is a row of `COLUMNS` and `TRAITS`.

        An image followed the re-triages until it was drawn or read. It took part in the draw in which it last became clear.
        If a later re-triage no longer calls its score clear, all others of this draw are to be read.
        """
        share, was_clear = self.at(image.scored_at), image.first_verdict not in NEEDS_READING
        later = [one for one in self._retriages if one.is_after(image)]
        # Of most images, no re-triage says anything else.
        if was_clear and all(one.is_clear(image) for one in later):
            return share
        about = [one for one in later if one.is_about(image)]
        followed = _followed(image, about)
        for one in about[:followed]:
            is_clear = one.is_clear(image)
            if is_clear and not was_clear:
                share = one.rule.sample_share
            was_clear = is_clear
        return share if all(one.is_clear(image) for one in about[followed:]) else ALL


def _followed(image: Any, about: Sequence[_Retriage]) -> int:
    """Return how many of the re-triages about an image came before it was drawn or read."""
    last = [
        number
        for number, one in enumerate(about, 1)
        if one.put(image) and (image.drawn_rank is None or one.drew(image))
    ]
    return last[-1] if last else 0


def _retriages(session: Session) -> list[_Retriage]:
    """Return the re-triages, the earliest first."""
    # The condition is the one of the index.
    columns = AuditEvent.at, AuditEvent.subject, AuditEvent.payload
    events = select(*columns).where(RARE_KIND, AuditEvent.kind == "retriaged").order_by(AuditEvent.seq)
    models: dict[str, int] = {row.sha256: row.id for row in session.execute(select(Model.sha256, Model.id))}
    found = []
    for at, subject, payload in session.execute(events):
        rule = Rule.parse(json.loads(payload))
        point = subject.removeprefix("operating_point:")
        found.append(_Retriage(datetime.fromisoformat(at), models.get(rule.model_sha256), point, rule))
    return found
