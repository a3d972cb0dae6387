"""Calibrations of the site: versioned recalibrations of a model's scores, at most one in force for a model.

A calibration is a row that never changes. Which one is in force, by whom and why, is a setting of the site like a threshold;
to revoke it is another one. Two events bind both to the audit trail: the numbers with the digest of the cases that they were
fitted on, and the choice. The score of an image and its verdict never change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Model, SiteCalibration, SiteSetting
from worker.recalibration.logistic import Recalibration

_NAME = "calibration"


@dataclass(frozen=True)
class Layer:
    """A calibration on record.

    Attributes:
        id: of its row.
        model_id: the model whose scores it recalibrates.
        version: 1, 2, ... for a model.
        recalibration: the map.
        prevalence: the share of images with signs among the cases, weighted.
        cases_digest: SHA-256 of the cases.
        figures: numbers of cases and held-out figures, as `worker.report.site_calibration` made them.
        at: when it was fitted.
    """

    id: int
    model_id: int
    version: int
    recalibration: Recalibration
    prevalence: float
    cases_digest: str
    figures: Mapping[str, Any]
    at: datetime

    @property
    def name(self) -> str:
        """The name that people see."""
        return f"calibration {self.version}"


@dataclass(frozen=True)
class Choice:
    """That a calibration was put in force or revoked, by whom and why.

    `version` is None if it was revoked; then `revoked` is the version that was in force.
    """

    id: int
    version: int | None
    revoked: int | None
    set_by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Fitted:
    """A fit for the record. Its numbers have six decimals, as many as the trail proves."""

    recalibration: Recalibration
    prevalence: float
    cases_digest: str
    figures: dict[str, Any]


def in_force(session: Session, model_id: int) -> Layer | None:
    """Return the calibration in force for a model; None without one."""
    return of_models(session, [model_id]).get(model_id)


def of_models(session: Session, model_ids: Collection[int]) -> dict[int, Layer]:
    """Return the calibrations in force of these models, by the id of the model."""
    names = [_name_of(model_id) for model_id in sorted(set(model_ids))]
    return _in_force(session, SiteSetting.name.in_(names))


def every(session: Session) -> dict[int, Layer]:
    """Return the calibrations in force of all models, by the id of the model."""
    # A range of names, so that the index serves.
    return _in_force(session, SiteSetting.name.between(f"{_NAME}:", f"{_NAME};"))


def _in_force(session: Session, chosen_names: ColumnElement[bool]) -> dict[int, Layer]:
    last = select(func.max(SiteSetting.id)).where(chosen_names).group_by(SiteSetting.name)
    chosen = session.scalars(select(SiteSetting).where(SiteSetting.id.in_(last)))
    ids = [row.value["calibration"] for row in chosen if row.value["calibration"] is not None]
    if not ids:
        return {}
    rows = session.scalars(select(SiteCalibration).where(SiteCalibration.id.in_(ids)))
    return {row.model_id: _layer(row) for row in rows}


def layers(session: Session, model_id: int) -> list[Layer]:
    """Return the calibrations of a model, the last one first."""
    of_model = select(SiteCalibration).where(SiteCalibration.model_id == model_id)
    return [_layer(row) for row in session.scalars(of_model.order_by(SiteCalibration.version.desc()))]


def history(session: Session, model_id: int, *, limit: int) -> list[Choice]:
    """Return the latest changes for a model, the last one first."""
    latest = select(SiteSetting).where(SiteSetting.name == _name_of(model_id))
    return [_choice(row) for row in session.scalars(latest.order_by(SiteSetting.id.desc()).limit(limit))]


def put_in_force(
    session: Session, model: Model, fitted: Fitted, *, who: str, why: str, at: datetime
) -> Layer:
    """Record the next calibration of a model and put it in force, with a reason. Raises ValueError without one.

    The caller has made sure that held-out figures speak for it.
    """
    _check(why)
    audit.lock(session)
    last = select(func.max(SiteCalibration.version)).where(SiteCalibration.model_id == model.id)
    row = SiteCalibration(
        model_id=model.id,
        version=(session.scalar(last) or 0) + 1,
        intercept=fitted.recalibration.intercept,
        slope=fitted.recalibration.slope,
        prevalence=fitted.prevalence,
        cases_digest=fitted.cases_digest,
        figures=fitted.figures,
        at=at,
    )
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "model": model.id,
        "model_sha256": model.sha256,
        **{
            name: getattr(row, name)
            for name in ("version", "intercept", "slope", "prevalence", "cases_digest")
        },
        "figures_sha256": audit.digest(audit.canonical(fitted.figures)),
    }
    audit.append(session, [audit.Event("calibration_fitted", who, f"site_calibration:{row.id}", details)], at)
    _set(session, "calibration_set", model, _value(model, row.id, row.version), who=who, why=why, at=at)
    return _layer(row)


def revoke(session: Session, model: Model, *, who: str, why: str, at: datetime) -> Layer:
    """Revoke the calibration in force, and return it: then the model has none. Raises ValueError without a reason or one."""
    _check(why)
    audit.lock(session)
    before = in_force(session, model.id)
    if before is None:
        raise ValueError("no calibration of this model is in force")
    value = _value(model, None, None) | {"revoked": before.version}
    _set(session, "calibration_revoked", model, value, who=who, why=why, at=at)
    return before


def _check(why: str) -> None:
    if not why.strip():
        raise ValueError("a change of the calibration needs a reason")


def _set(
    session: Session, kind: str, model: Model, value: dict[str, object], *, who: str, why: str, at: datetime
) -> None:
    row = SiteSetting(name=_name_of(model.id), value=value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "setting": row.name,
        **value,
        "value_sha256": audit.digest(audit.canonical(value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event(kind, who, f"site_setting:{row.id}", details)], at)


def _value(model: Model, row_id: int | None, version: int | None) -> dict[str, object]:
    return {"model": model.sha256, "calibration": row_id, "version": version}


def _name_of(model_id: int) -> str:
    return f"{_NAME}:{model_id}"


def _layer(row: SiteCalibration) -> Layer:
    return Layer(
        row.id,
        row.model_id,
        row.version,
        Recalibration(row.intercept, row.slope),
        row.prevalence,
        row.cases_digest,
        row.figures,
        row.at,
    )


def _choice(row: SiteSetting) -> Choice:
    return Choice(row.id, row.value["version"], row.value.get("revoked"), row.set_by, row.why, row.at)
