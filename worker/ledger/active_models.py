"""Which model the site has made active: each change is a row with who and why, like a change of the operating point.

Without a choice of the site, each worker scores with the bundle of its setting NIGHTREAD_MODEL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Model, SiteSetting

_NAME = "model"


@dataclass(frozen=True)
class Activation:
    """Which model was made active, by whom and why.

    Attributes:
        id: of its row.
        model_sha256: the model.
        name, version: of its card.
        set_by: the actor.
        why: the reason.
        at: when.
    """

    id: int
    model_sha256: str
    name: str
    version: str
    set_by: str
    why: str
    at: datetime

    @property
    def title(self) -> str:
        """Name and version of the model, as people read them."""
        return f"{self.name} {self.version}".strip()


def in_force(session: Session) -> Activation | None:
    """Return the site's choice; None if nobody has ever made one."""
    rows = history(session, limit=1)
    return rows[0] if rows else None


def history(session: Session, *, limit: int) -> Sequence[Activation]:
    """Return the latest changes, the last one first."""
    latest = select(SiteSetting).where(SiteSetting.name == _NAME).order_by(SiteSetting.id.desc())
    return [_parsed(row) for row in session.scalars(latest.limit(limit))]


def activate(session: Session, model: Model, *, who: str, why: str, at: datetime) -> Activation:
    """Make a registered model active, with a reason. Raises ValueError without one, or if it is active already.

    The caller has made sure that the workers can use it. Images that have a score keep it.
    """
    if not why.strip():
        raise ValueError("a change of the active model needs a reason")
    audit.lock(session)
    before = in_force(session)
    if before is not None and before.model_sha256 == model.sha256:
        raise ValueError("this model is already active")
    value: dict[str, object] = {"model": model.sha256, "name": model.name, "version": model.version}
    row = SiteSetting(name=_NAME, value=value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "setting": _NAME,
        "model": model.sha256,
        "model_before": before.model_sha256 if before else None,
        "value_sha256": audit.digest(audit.canonical(value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event("model_activated", who, f"site_setting:{row.id}", details)], at)
    return _parsed(row)


def _parsed(row: SiteSetting) -> Activation:
    value = row.value
    return Activation(row.id, value["model"], value["name"], value["version"], row.set_by, row.why, row.at)
