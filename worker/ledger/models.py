"""Models that have scored here, or are about to: which one is in use, and how much each has done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger.tables import Model, OperatingPointRow, Prediction, PredictionTally


@dataclass(frozen=True)
class KnownModel:
    """A model, whether it is the one in use, and how many images it has scored.

    `operating_point` is the one that its latest score was read at; None: it has scored nothing.
    """

    model: Model
    in_use: bool
    scored: int
    operating_point: OperatingPointRow | None


def known_models(session: Session) -> list[KnownModel]:
    """Every model that the ledger knows, the one in use first, then the latest to be made known."""
    models = session.scalars(select(Model).order_by(Model.active_since.desc(), Model.id.desc())).all()
    scored = {tally.model_id: tally.total for tally in session.scalars(select(PredictionTally))}
    used = _in_use(session, models)
    known = [
        KnownModel(model, model is used, scored.get(model.id, 0), _latest_point(session, model))
        for model in models
    ]
    return sorted(known, key=lambda each: not each.in_use)


def find_model(known: Sequence[KnownModel], sha256: str) -> KnownModel | None:
    """The model of this SHA-256, in capitals or not; None: there is none."""
    return next((each for each in known if each.model.sha256 == sha256.lower()), None)


def _in_use(session: Session, models: Sequence[Model]) -> Model | None:
    """The model that scored last, unless one was made known since; a worker does that as it starts."""
    latest = session.execute(
        select(Prediction.model_id, Prediction.finished_at)
        .order_by(Prediction.finished_at.desc(), Prediction.id.desc())
        .limit(1)
    ).one_or_none()
    if latest is None or not models or models[0].active_since > latest.finished_at:
        return models[0] if models else None
    return next(model for model in models if model.id == latest.model_id)


def _latest_point(session: Session, model: Model) -> OperatingPointRow | None:
    # By its number: PostgreSQL would look for it from the latest of all models downwards, row by row.
    latest = select(func.max(Prediction.id)).where(Prediction.model_id == model.id).scalar_subquery()
    return session.scalars(
        select(OperatingPointRow)
        .join(Prediction, Prediction.operating_point_id == OperatingPointRow.id)
        .where(Prediction.id == latest)
    ).one_or_none()
