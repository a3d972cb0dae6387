"""The reading protocol of the site: what a reader sees first, how many read an image, and how many clear ones are drawn.

Each change is a row with who and why. Each reading names the protocol that it followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import SiteSetting

_NAME = "protocol"


class Shown(StrEnum):
    """When a reader sees what the model says."""

    FIRST = "first"
    AFTER_DECISION = "after_decision"


@dataclass(frozen=True)
class Protocol:
    """How images are read.

    Attributes:
        score: when a reader sees score and verdict.
        activation_map: when a reader may see the map. It is never shown before the score.
        readers: how many people read each scored image, 1 or 2. If two disagree, an adjudicator decides.
        sample_share: the share of clear images that are drawn to be read, in [0, 1].

    Raises ValueError, with a sentence, for a value that cannot work.
    """

    score: Shown = Shown.FIRST
    activation_map: Shown = Shown.FIRST
    readers: int = 1
    sample_share: float = 0.05

    def __post_init__(self) -> None:
        """Check the values."""
        if self.readers not in {1, 2}:
            raise ValueError("an image is read by 1 or 2 readers")
        if not 0 <= self.sample_share <= 1:
            raise ValueError("the share of clear images to draw must be from 0 to 1")

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Protocol:
        """Return the protocol of a row or a form. Raises ValueError for what is none."""
        return cls(
            Shown(value["score"]),
            Shown(value["activation_map"]),
            int(value["readers"]),
            float(value["sample_share"]),
        )

    @property
    def value(self) -> dict[str, str | int | float]:
        """The protocol as a row holds it."""
        return {
            name: value.value if isinstance(value, Shown) else value for name, value in asdict(self).items()
        }

    @property
    def is_blind(self) -> bool:
        """Whether a reader decides before the score is shown."""
        return self.score is Shown.AFTER_DECISION

    @property
    def map_is_blind(self) -> bool:
        """Whether a reader decides before the map is shown."""
        return self.is_blind or self.activation_map is Shown.AFTER_DECISION


@dataclass(frozen=True)
class InForce:
    """A protocol, and the id of its row; None for the default one."""

    protocol: Protocol
    id: int | None = None


def in_force(session: Session) -> InForce:
    """Return the protocol that readings follow now."""
    last = select(SiteSetting).where(SiteSetting.name == _NAME).order_by(SiteSetting.id.desc()).limit(1)
    return _parsed(session.scalars(last).one_or_none())


def of(session: Session, protocol_id: int | None) -> Protocol:
    """Return the protocol that a reading followed."""
    return _parsed(None if protocol_id is None else session.get_one(SiteSetting, protocol_id)).protocol


def history(session: Session, *, limit: int) -> list[tuple[SiteSetting, Protocol]]:
    """Return the latest changes of the protocol, the last one first."""
    latest = select(SiteSetting).where(SiteSetting.name == _NAME).order_by(SiteSetting.id.desc()).limit(limit)
    return [(row, Protocol.parse(row.value)) for row in session.scalars(latest)]


def change(session: Session, protocol: Protocol, *, who: str, why: str, at: datetime) -> SiteSetting:
    """Put a protocol in force, with a reason. Raises ValueError without one, or if nothing would change."""
    if not why.strip():
        raise ValueError("a change of the reading protocol needs a reason")
    audit.lock(session)
    before = in_force(session).protocol
    if protocol == before:
        raise ValueError("this protocol is already in force")
    row = SiteSetting(name=_NAME, value=protocol.value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "name": _NAME,
        **protocol.value,
        **{f"{name}_before": value for name, value in before.value.items()},
        "value_sha256": audit.digest(audit.canonical(protocol.value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event("protocol_set", who, f"site_setting:{row.id}", details)], at)
    return row


def _parsed(row: SiteSetting | None) -> InForce:
    return InForce(Protocol()) if row is None else InForce(Protocol.parse(row.value), row.id)
