"""`nightread calibration`: fit a recalibration of a model to this site, put it in force, and revoke it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from worker.ledger import calibrations, models
from worker.ledger.actors import operating_system_user
from worker.ledger.calibrations import Fitted
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import Model
from worker.report import calibration_formats
from worker.report.calibration_overview import CalibrationOverview, overview
from worker.report.site_calibration import Figures, gather, to_record
from worker.terminal import printable

_NO_MODEL = "no model is known yet: start `nightread worker` first"


@dataclass(frozen=True)
class Tried:
    """A fit that is not on record yet. `fitted` is None if held-out figures speak against it."""

    model_sha256: str
    figures: Figures
    fitted: Fitted | None


def read(ledger: Ledger, named: str | None) -> CalibrationOverview:
    """Return the calibrations of the model with this SHA-256, or its beginning; None: the one that scores now.

    Raises LookupError without one.
    """
    with ledger.reading() as session:
        return overview(session, _model(session, named), person=False)


def fit(ledger: Ledger, named: str | None) -> Tried:
    """Fit a recalibration and measure it. Raises LookupError, and CannotFit with a sentence."""
    with ledger.reading() as session:
        model = _model(session, named)
        gathered = gather(session, model)
    figures = gathered.figures()
    offered = to_record(gathered, figures) if figures.fit.is_offered else None
    return Tried(model.sha256, figures, offered)


def put_in_force(ledger: Ledger, tried: Tried, why: str) -> None:
    """Put a fit on record and in force. Raises ValueError without a reason, or if it is not offered."""
    if tried.fitted is None:
        raise ValueError(tried.figures.sentences[0].rstrip("."))
    with ledger.transaction() as session:
        who, at = operating_system_user(), ledger_time(session)
        model = _model(session, tried.model_sha256)
        calibrations.put_in_force(session, model, tried.fitted, who=who, why=why, at=at)


def revoke(ledger: Ledger, named: str | None, why: str) -> None:
    """Revoke the calibration in force. Raises LookupError, and ValueError if there is none."""
    with ledger.transaction() as session:
        who, at = operating_system_user(), ledger_time(session)
        calibrations.revoke(session, _model(session, named), who=who, why=why, at=at)


def as_text(shown: CalibrationOverview) -> str:
    """Return what is on record as text for a terminal: what a person typed cannot control it."""
    return "\n".join(map(printable, calibration_formats.as_text(shown).splitlines()))


def tried_text(tried: Tried) -> str:
    """Return a fit as text for people."""
    return "\n".join(calibration_formats.figures_lines(tried.figures))


def tried_document(tried: Tried) -> dict[str, Any]:
    """Return a fit as a JSON document."""
    recalibration = tried.figures.fit.recalibration
    return {
        "intercept": recalibration.intercept,
        "slope": recalibration.slope,
        "verdict": tried.figures.fit.held_out.verdict.value,
        "sentences": tried.figures.sentences,
        "figures": tried.figures.document,
    }


def _model(session: Session, named: str | None) -> Model:
    if named is None:
        model = models.active_model(session)
        if model is None:
            raise LookupError(_NO_MODEL)
        return model
    found = [
        one.model for one in models.registered_models(session) if one.model.sha256.startswith(named.lower())
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found) or 'no'} registered models have a SHA-256 that begins with {named}")
    return found[0]
