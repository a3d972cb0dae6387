"""Models over the API: the list, each model's card, and its calibration at this site."""

from __future__ import annotations

from flask import Blueprint, abort
from flask.typing import ResponseReturnValue

from webui.access.permissions import Permission, needs
from webui.api.documents import model_document
from webui.dependencies import dependencies
from worker import DISCLAIMER
from worker.ledger.models import find_model, registered_models
from worker.report.calibration_overview import document, overview

api = Blueprint("api_models", __name__, url_prefix="/api/v1")


@api.get("/models")
@needs(Permission.MODELS)
def listing() -> ResponseReturnValue:
    """List the registered models, the active one first."""
    with dependencies().ledger.reading() as session:
        models = registered_models(session)
    return {"disclaimer": DISCLAIMER, "models": [model_document(model) for model in models]}


@api.get("/models/<sha256>")
@needs(Permission.MODELS)
def show(sha256: str) -> ResponseReturnValue:
    """Return a model and its card."""
    with dependencies().ledger.reading() as session:
        models = registered_models(session)
    model = find_model(models, sha256)
    if model is None:
        abort(404, "There is no model with this SHA-256.")
    return {"disclaimer": DISCLAIMER, **model_document(model), "card": model.model.card}


@api.get("/models/<sha256>/calibration")
@needs(Permission.MODELS)
def calibration(sha256: str) -> ResponseReturnValue:
    """Return the calibration of a model at this site, with its held-out figures and the changes."""
    with dependencies().ledger.reading() as session:
        model = find_model(registered_models(session), sha256)
        if model is None:
            abort(404, "There is no model with this SHA-256.")
        return {"disclaimer": DISCLAIMER, **document(overview(session, model.model))}
