"""The calibration of the site: what a score means here, how that was measured, and since when it is in force and why."""

from __future__ import annotations

from typing import NamedTuple

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.charts import Chart, reliability_of
from webui.dependencies import dependencies
from webui.parameters import bad_request_on_value_error
from worker.card.reading import read_card
from worker.ledger import calibrations, models
from worker.ledger.models import find_model
from worker.ledger.session import ledger_time
from worker.ledger.tables import Model
from worker.ledger.thresholds import Point
from worker.recalibration.held_out import FOLDS, RESAMPLES, CannotFit
from worker.report.calibration_formats import HELD_OUT, as_csv, grouped
from worker.report.calibration_overview import overview
from worker.report.site_calibration import Figures, gather, proposed_point, to_record

pages = Blueprint("calibration", __name__)


class _Tried(NamedTuple):
    """A fit that is not on record: its figures, or a sentence that says why there is none.

    `digest` names the cases, so that what is put in force is what was shown.
    """

    why_not: str = ""
    digest: str = ""
    figures: Figures | None = None
    point: Point | None = None


@pages.get("/thresholds/calibration")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the calibration in force of a model. With `try`, an administrator sees what a fit would give now."""
    with dependencies().ledger.reading() as session:
        registered = models.registered_models(session)
        model = _model(session, request.args.get("model", ""))
        if model is None:
            return render_template("calibration.html", shown=None)
        shown = overview(session, model)
        wanted = "try" in request.args and identity.current().may(Permission.MANAGE)
        tried = _tried(session, model) if wanted else None
        return render_template(
            "calibration.html",
            shown=shown,
            tried=tried,
            models=[one.model for one in registered],
            chart_of=_chart,
            held_out=HELD_OUT,
            grouped=grouped,
            folds=FOLDS,
            resamples=RESAMPLES,
        )


@pages.get("/thresholds/calibration.csv")
@needs(Permission.REPORTS)
def figures_csv() -> ResponseReturnValue:
    """Send the figures of the calibration in force as a table; it has no row without one."""
    with dependencies().ledger.reading() as session:
        model = _model(session, request.args.get("model", ""))
        layer = calibrations.in_force(session, model.id) if model else None
        text = as_csv(
            model.sha256 if model else "",
            layer.version if layer else None,
            Figures.of(layer) if layer else None,
        )
    headers = {"Content-Disposition": 'attachment; filename="nightread-calibration.csv"'}
    return Response(text, mimetype="text/csv", headers=headers)


@pages.post("/thresholds/calibration")
@needs(Permission.MANAGE)
def fit() -> ResponseReturnValue:
    """Put a fit in force if its cases are still those that were shown."""
    who = identity.current().actor
    with bad_request_on_value_error():
        why = cleaned_text(request.form.get("why", ""), MAX_REASON)
        with dependencies().ledger.reading() as session:
            model = _known(session)
            gathered = gather(session, model)
        if gathered.digest != request.form.get("digest"):
            raise ValueError(
                "the readings have changed since the fit was shown: look at the new figures first"
            )
        # Fitting takes a moment, and the transaction below locks the audit trail.
        fitted = to_record(gathered, gathered.figures())
        with dependencies().ledger.transaction() as session:
            layer = calibrations.put_in_force(
                session, _known(session), fitted, who=who, why=why, at=ledger_time(session)
            )
    flash(f"{layer.name.capitalize()} is in force. Scores and verdicts stay as they are.")
    return redirect(_address(model), 303)


@pages.post("/thresholds/calibration/revoke")
@needs(Permission.MANAGE)
def revoke() -> ResponseReturnValue:
    """Revoke the calibration in force."""
    who = identity.current().actor
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        why = cleaned_text(request.form.get("why", ""), MAX_REASON)
        model = _known(session)
        layer = calibrations.revoke(session, model, who=who, why=why, at=ledger_time(session))
    flash(f"{layer.name.capitalize()} is revoked. No calibration of this model is in force.")
    return redirect(_address(model), 303)


def _model(session: Session, sha256: str) -> Model | None:
    """Return the model that the address names, else the one that scores now; None before any is known."""
    if not sha256:
        return models.active_model(session)
    found = find_model(models.registered_models(session), sha256)
    if found is None:
        abort(404, "There is no model with this SHA-256.")
    return found.model


def _known(session: Session) -> Model:
    model = _model(session, request.form.get("model", ""))
    if model is None:
        abort(409, "No model is known yet.")
    return model


def _address(model: Model) -> str:
    return url_for("calibration.show", model=model.sha256)


def _tried(session: Session, model: Model) -> _Tried:
    gathered = gather(session, model)
    try:
        figures = gathered.figures()
    except CannotFit as error:
        return _Tried(why_not=str(error))
    fit = figures.fit
    point = proposed_point(read_card(model.card), fit.recalibration, fit.prevalence, "calibrated")
    return _Tried("", gathered.digest, figures, point)


def _chart(figures: Figures) -> Chart:
    """Return the reliability diagram: scores, and the recalibrated probabilities of the same held-out images."""
    bins = figures.fit.held_out.bins
    return reliability_of(
        [
            ("before: the score", [(one.score, one.share.value) for one in bins]),
            ("after: recalibrated", [(one.recalibrated, one.share.value) for one in bins]),
        ]
    )
