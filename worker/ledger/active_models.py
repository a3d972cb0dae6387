"""Which model the site has made active: each change is a row with who and why, like a change of the operating point.

Without a choice of the site, each worker scores with the bundle of its setting NIGHTREAD_MODEL. A site that has chosen a
model can go back to that.
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
        model_sha256: the model; None: that of the setting NIGHTREAD_MODEL of each worker.
        name, version: of its card.
        set_by: the actor.
        why: the reason.
        at: when.
        own_sha256: of a change back to the setting: the model that it named on the first worker's machine then.
    """

    id: int
    model_sha256: str | None
    name: str
    version: str
    set_by: str
    why: str
    at: datetime
    own_sha256: str | None = None

    @property
    def title(self) -> str:
        """Name and version of the model, as people read them."""
        if self.model_sha256 is None:
            return "the model of the setting NIGHTREAD_MODEL of each worker"
        return f"{self.name} {self.version}".strip()


def chosen(session: Session) -> Activation | None:
    """Return the model that the site has made active; None if each worker's setting decides."""
    choice = latest(session)
    return choice if choice and choice.model_sha256 else None


def latest(session: Session) -> Activation | None:
    """Return the last change; None if nobody has ever made one."""
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
    before = chosen(session)
    if before is not None and before.model_sha256 == model.sha256:
        raise ValueError(f"{before.title} is already active")
    value: dict[str, object] = {"model": model.sha256, "name": model.name, "version": model.version}
    return _record(session, value, before, who=who, why=why, at=at)


def activate_default(session: Session, own: Model, *, who: str, why: str, at: datetime) -> Activation:
    """Let each worker's setting NIGHTREAD_MODEL decide again, with a reason. `own` is what it names on the first machine.

    Raises ValueError without a reason, or if it decides already.
    """
    if not why.strip():
        raise ValueError("a change of the active model needs a reason")
    audit.lock(session)
    before = chosen(session)
    if before is None:
        raise ValueError("each worker scores with the model of its setting NIGHTREAD_MODEL already")
    value: dict[str, object] = {"model": None, "name": "", "version": "", "own": own.sha256}
    return _record(session, value, before, who=who, why=why, at=at)


def _record(
    session: Session,
    value: dict[str, object],
    before: Activation | None,
    *,
    who: str,
    why: str,
    at: datetime,
) -> Activation:
    row = SiteSetting(name=_NAME, value=value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "setting": _NAME,
        "model": value["model"],
        "model_before": before.model_sha256 if before else None,
        "value_sha256": audit.digest(audit.canonical(value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event("model_activated", who, f"site_setting:{row.id}", details)], at)
    return _parsed(row)


def _parsed(row: SiteSetting) -> Activation:
    value = row.value
    return Activation(
        *(row.id, value["model"], value["name"], value["version"], row.set_by, row.why, row.at),
        own_sha256=value.get("own"),
    )
