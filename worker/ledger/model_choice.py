"""A person makes a model active, or the candidate: only one that every running worker can use."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from worker.ledger import active_models, bundles, shadows
from worker.ledger.active_models import Activation
from worker.ledger.bundles import KnownBundles
from worker.ledger.models import active_model
from worker.ledger.shadows import IMAGES, Shadow
from worker.ledger.tables import Model


def activate(
    session: Session, known: KnownBundles, name: str, *, who: str, why: str, at: datetime
) -> Activation:
    """Make the model that a person named active.

    Raises LookupError if there is no such model, ValueError if a worker cannot use it, or without a reason.
    """
    return active_models.activate(session, _usable(session, known, name, at), who=who, why=why, at=at)


def activate_default(
    session: Session, known: KnownBundles, *, who: str, why: str, at: datetime
) -> Activation:
    """Let each worker's setting NIGHTREAD_MODEL decide again which model scores.

    Raises ValueError if a worker cannot use the model of its setting, or without a reason.
    """
    obstacle = known.obstacle_of_own()
    if obstacle is not None:
        raise ValueError(obstacle)
    own = bundles.register(session, known.own()[0], at)
    return active_models.activate_default(session, own, who=who, why=why, at=at)


def shadow(
    session: Session,
    known: KnownBundles,
    name: str | None,
    *,
    who: str,
    why: str,
    at: datetime,
    images: int = IMAGES,
    since: datetime | None = None,
) -> Shadow:
    """Make the model that a person named the candidate; None: no model any more. Errors: as `activate`.

    The active model is no candidate: it has scored these images.
    """
    if name is None:
        return shadows.change(session, None, who=who, why=why, at=at)
    # Before the candidate is registered: without a choice of the site, the model that was registered last is active.
    active = active_model(session)
    model = _usable(session, known, name, at)
    if active is not None and active.sha256 == model.sha256:
        raise ValueError("this is the active model, which has scored these images already")
    return shadows.change(session, model, who=who, why=why, at=at, images=images, since=since)


def _usable(session: Session, known: KnownBundles, name: str, at: datetime) -> Model:
    if not known.bundles:
        raise ValueError("no worker is running that could say which models it has: start one first")
    bundle = known.find(name)
    obstacle = known.obstacle(bundle.sha256 or "")
    if obstacle is not None:
        raise ValueError(obstacle)
    return bundles.register(session, bundle, at)
