"""The JSON documents of the ledger's rows. Times are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import url_for

from webui.blinding import Blinding
from worker import DISCLAIMER
from worker.card.identity import is_shipped
from worker.ledger.calibrations import Layer
from worker.ledger.models import RegisteredModel
from worker.ledger.related_images import RelatedImages
from worker.ledger.reports import RunSummary
from worker.ledger.studies import INSTANCE_COLUMNS, PATIENT_COLUMNS, STUDY_COLUMNS
from worker.ledger.tables import Corners, Image, OperatingPointRow, Prediction, Receipt, Rescore, Review


def queue_row(
    image: Image, standing: Review | None, patient: object | None, hidden: Blinding
) -> dict[str, Any]:
    """Return an image as a row of a list, with the reading in force.

    `patient` has what is known of the patient (`PATIENT_COLUMNS`).
    """
    return {
        **_image_row(image, standing, hidden),
        **{name: getattr(patient, name, None) for name in PATIENT_COLUMNS},
    }


def image_document(
    image: Image,
    standing: Review | None,
    names: Mapping[str, str],
    related: RelatedImages,
    hidden: Blinding,
    layers: Mapping[int, Layer],
) -> dict[str, Any]:
    """Return an image with its predictions, readings, receipts and identity.

    `names` has the names of actors, and `layers` the calibrations in force by the id of their model.
    """
    predictions = [] if hidden.hides_score(image) else image.predictions
    return {
        "disclaimer": DISCLAIMER,
        **_image_row(image, standing, hidden),
        "format": image.format,
        "bytes": image.bytes,
        "width": image.width,
        "height": image.height,
        "attempts": image.attempts,
        **_identity(image, related),
        "erased_at": _iso(image.erasure.at) if image.erasure else None,
        "erased_why": image.erasure.reason if image.erasure else None,
        "operating_point": _point(image.operating_point, image.group_of_point)
        if predictions and image.operating_point
        else None,
        "predictions": [
            _prediction(prediction, layers.get(prediction.model_id)) for prediction in predictions
        ],
        "reviews": [review_document(reading) for reading in hidden.shown_readings(image)],
        "receipts": [_receipt(receipt, names) for receipt in image.receipts],
        "picture": url_for("images.picture", image_id=image.id),
        "original": url_for("images.original", image_id=image.id),
        "map": url_for("images.activation", image_id=image.id)
        if image.prediction and not hidden.hides_map(image)
        else None,
    }


def review_document(reading: Review) -> dict[str, Any]:
    """Return a reading, a change of one, or an undo."""
    return {
        "review": reading.id,
        "image": reading.image_id,
        "prediction": reading.prediction_id,
        "action": reading.action,
        "finding": reading.finding,
        "reason": reading.reason_code,
        "note": reading.note,
        "other_finding": reading.other_finding,
        "why": reading.why,
        "undoes": reading.undoes_id,
        "supersedes": reading.supersedes_id,
        "score_shown": reading.score_shown,
        "map_shown": reading.map_shown,
        "open_ms": reading.open_ms,
        "stage": reading.stage,
        "protocol": reading.protocol_id,
        "reader": reading.user.name,
        "at": _iso(reading.at),
    }


def rescore_row(rescore: Rescore, hidden: Blinding) -> dict[str, Any]:
    """Return an image that was scored again, with its verdict before and now."""
    image = rescore.image
    is_hidden = hidden.hides_score(image)
    return {
        "rescore": rescore.id,
        "rescored_at": _iso(rescore.at),
        "rescore_reason": rescore.reason_code,
        "image": image.id,
        "file": image.original_name,
        "sha256": image.sha256,
        "phantom": image.phantom,
        "verdict_before": None if is_hidden else rescore.prediction.verdict,
        "p_pneumonia_before": None if is_hidden else rescore.prediction.p_pneumonia,
        "state": image.state,
        "verdict": None if is_hidden else image.verdict,
        "p_pneumonia": None if is_hidden else image.p_pneumonia,
        "reason": image.reason,
    }


def run_document(run: RunSummary) -> dict[str, Any]:
    """Return a run and its file count."""
    return {
        "run": run.name,
        "run_id": run.id,
        "started_at": _iso(run.started_at),
        "first_scored_at": _iso(run.first_scored_at),
        "last_scored_at": _iso(run.last_scored_at),
        **asdict(run.file_counts),
    }


def model_document(model: RegisteredModel) -> dict[str, Any]:
    """Return a model without its card."""
    return {
        "sha256": model.model.sha256,
        "verified": is_shipped(model.model.sha256, model.model.card),
        "name": model.model.name,
        "version": model.model.version,
        "active_since": _iso(model.model.active_since),
        "in_use": model.is_active,
        "scored": model.scored,
    }


def _image_row(image: Image, standing: Review | None, hidden: Blinding) -> dict[str, Any]:
    is_hidden = hidden.hides_score(image)
    shown = standing if hidden.shows(image, standing) else None
    return {
        "image": image.id,
        "file": image.original_name,
        "sha256": image.sha256,
        "phantom": image.phantom,
        "run": image.run.name,
        "run_id": image.run_id,
        "received_at": _iso(image.received_at),
        "state": image.state,
        "reason_code": image.reason_code,
        "reason": image.reason,
        "score_hidden": is_hidden,
        "verdict": None if is_hidden else image.verdict,
        "p_pneumonia": None if is_hidden else image.p_pneumonia,
        "population": image.population,
        "distance": None if is_hidden else image.distance,
        "review_state": image.review_state,
        "finding": shown.finding if shown else None,
        "reading": review_document(shown) if shown else None,
        "claimed_by": image.claimed_by.name if image.claimed_by else None,
        "claimed_until": _iso(image.claimed_until),
    }


def _point(point: OperatingPointRow, group: str | None) -> dict[str, Any]:
    return {
        "name": point.name,
        "threshold": point.threshold,
        "band_low": point.band_low,
        "band_high": point.band_high,
        "group": group,
    }


def _corners(part: Corners | None) -> dict[str, int] | None:
    return None if part is None else dict(zip(("left", "top", "right", "bottom"), part, strict=True))


def _prediction(prediction: Prediction, layer: Layer | None) -> dict[str, Any]:
    return {
        "prediction": prediction.id,
        "p_normal": prediction.p_normal,
        "p_bacterial": prediction.p_bacterial,
        "p_viral": prediction.p_viral,
        "p_pneumonia": prediction.p_pneumonia,
        "confidence": prediction.confidence,
        "verdict": prediction.verdict,
        "clear_below": prediction.clear_below,
        "population": prediction.population,
        "crop": _corners(prediction.crop),
        "lungs": _corners(prediction.lungs),
        "lungs_cut_off": prediction.cuts_lungs_off,
        "distance": prediction.distance,
        "model": {
            "name": prediction.model.name,
            "version": prediction.model.version,
            "sha256": prediction.model.sha256,
        },
        "operating_point": _point(prediction.operating_point, prediction.point_group),
        "started_at": _iso(prediction.started_at),
        "finished_at": _iso(prediction.finished_at),
        "compute_ms": prediction.compute_ms,
        "worker": prediction.worker,
        "versions": prediction.versions,
        "greyscale": prediction.greyscale,
        "site_probability": layer.recalibration.probability(prediction.p_pneumonia) if layer else None,
        "site_calibration": layer.version if layer else None,
    }


def _identity(image: Image, related: RelatedImages) -> dict[str, Any]:
    """Return whose image it is, without a name, and how it was taken."""
    study = image.instance.study if image.instance else None
    return {
        "study": study.id if study else None,
        **{name: getattr(study, name, None) for name in STUDY_COLUMNS},
        **{name: getattr(image.instance, name, None) for name in INSTANCE_COLUMNS},
        "study_images": [other.id for other in related.of_study],
        "study_complete": related.complete,
        "earlier_images": [other.id for other in related.earlier],
    }


def _receipt(receipt: Receipt, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "receipt": receipt.id,
        "file": receipt.original_name,
        "source": receipt.source,
        "outcome": receipt.outcome,
        "reason": receipt.reason,
        "received_at": _iso(receipt.received_at),
        "received_by": names.get(receipt.received_by or "", receipt.received_by),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at else None
