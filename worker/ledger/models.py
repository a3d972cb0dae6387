"""The registered models: which one is active, and how many images each has scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import active_models, shadows, thresholds
from worker.ledger.tables import Model, OperatingPointRow, Prediction, PredictionTally

# The latest predictions of a model among which one with the general operating point is looked for.
_LATEST = 200


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model.

    Attributes:
        model: its row.
        is_active: whether it is the model that scores now.
        scored: number of images it has scored.
        operating_point: the general operating point that the site has in force for it, else that of its latest prediction;
            None if it has scored nothing.
        has_groups: whether images of some groups follow other points.
    """

    model: Model
    is_active: bool
    scored: int
    operating_point: OperatingPointRow | None
    has_groups: bool = False


def registered_models(session: Session) -> list[RegisteredModel]:
    """Return every registered model: the active one first, then the most recently registered."""
    models = _latest_first(session)
    scored = {tally.model_id: tally.total for tally in session.scalars(select(PredictionTally))}
    active = _active_model(session, models)
    registered = [
        RegisteredModel(
            model,
            model is active,
            scored.get(model.id, 0),
            _point_in_force(session, model),
            bool(thresholds.plan(session, model.sha256).groups),
        )
        for model in models
    ]
    return sorted(registered, key=lambda candidate: not candidate.is_active)


def find_model(models: Sequence[RegisteredModel], sha256: str) -> RegisteredModel | None:
    """Return the model with this SHA-256, in upper or lower case; None if there is none."""
    return next((model for model in models if model.model.sha256 == sha256.lower()), None)


def active_model(session: Session) -> Model | None:
    """Return the model that scores now; None before a worker has registered one."""
    return _active_model(session, _latest_first(session))


def unused_point(session: Session) -> str | None:
    """Return a sentence if the site's operating points are for another model than the one that scores now, else None."""
    setting = thresholds.latest(session)
    if setting is None:
        return None
    model = active_model(session)
    if model is None or thresholds.is_decided(session, model.sha256):
        return None
    plan = thresholds.plan(session, setting.model_sha256)
    names = dict.fromkeys(one.point.name for one in (plan.general, *plan.groups) if one and one.point)
    if model.sha256 == setting.model_sha256 or not names:
        return None
    return (
        f"The operating point {' and '.join(names)} was set for another model ({setting.model_sha256[:12]}), so the model "
        f"that scores now ({model.sha256[:12]}) does not use it. Put a point in force for this model, or none, on the page "
        "Thresholds."
    )


def _latest_first(session: Session) -> Sequence[Model]:
    return session.scalars(select(Model).order_by(Model.active_since.desc(), Model.id.desc())).all()


def _active_model(session: Session, models: Sequence[Model]) -> Model | None:
    """Return the model that the site has made active.

    Without a choice of the site: the model that scored last, or one that a worker has registered at its start since then, or
    the one to which the site has gone back since then.
    """
    choice = active_models.latest(session)
    if choice is not None and choice.model_sha256 is not None:
        return next((model for model in models if model.sha256 == choice.model_sha256), None)
    # No worker has started with a model that was registered as a candidate.
    candidates = shadows.candidates(session)
    started = [model for model in models if model.sha256 not in candidates]
    latest = session.execute(
        select(Prediction.model_id, Prediction.finished_at)
        .order_by(Prediction.finished_at.desc(), Prediction.id.desc())
        .limit(1)
    ).one_or_none()
    since: list[tuple[datetime, Model]] = []
    if latest is not None:
        since.append((latest.finished_at, next(model for model in models if model.id == latest.model_id)))
    if started:
        since.append((started[0].active_since, started[0]))
    if choice is not None:
        since += [(choice.at, model) for model in models if model.sha256 == choice.own_sha256]
    return max(since, key=lambda known: known[0])[1] if since else None


def _point_in_force(session: Session, model: Model) -> OperatingPointRow | None:
    setting = thresholds.in_force(session, model.sha256)
    if setting is not None:
        return session.get(OperatingPointRow, setting.operating_point_id)
    return latest_point(session, model)


def latest_point(session: Session, model: Model) -> OperatingPointRow | None:
    """Return the general operating point of the model's latest predictions; None if it has scored nothing.

    If so many of them followed points of groups that nobody knows the general one, it is the last one of the card that was
    used and that no group has.
    """
    # By id, because PostgreSQL would otherwise search row by row from the latest prediction of any model.
    latest = (
        select(Prediction.operating_point_id, Prediction.point_group)
        .where(Prediction.model_id == model.id)
        .order_by(Prediction.id.desc())
        .limit(_LATEST)
    )
    points = session.execute(latest).all()
    if not points:
        return None
    general = next((row.operating_point_id for row in points if row.point_group is None), None)
    if general is not None:
        return session.get(OperatingPointRow, general)
    of_groups = [one.operating_point_id for one in thresholds.plan(session, model.sha256).groups]
    return session.scalars(
        select(OperatingPointRow)
        .where(
            OperatingPointRow.model_id == model.id,
            OperatingPointRow.set_by == thresholds.BY_BUNDLE,
            OperatingPointRow.id.not_in(of_groups),
        )
        .order_by(OperatingPointRow.id.desc())
        .limit(1)
    ).one_or_none()
