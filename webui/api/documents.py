"""How the ledger's rows are written in JSON. Times are ISO 8601 in UTC."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import url_for

from worker import DISCLAIMER
from worker.ledger.models import KnownModel
from worker.ledger.reports import RunSummary
from worker.ledger.tables import Image, Prediction, Receipt, Review


def queue_row(image: Image, act: Review | None) -> dict[str, Any]:
    """An image as a row of a list, with the verdict of its reader that stands."""
    return {
        "image": image.id,
        "file": image.original_name,
        "sha256": image.sha256,
        "phantom": image.phantom,
        "run": image.run.name,
        "received_at": _iso(image.received_at),
        "state": image.state,
        "reason_code": image.reason_code,
        "reason": image.reason,
        "verdict": image.verdict,
        "p_pneumonia": image.p_pneumonia,
        "review_state": image.review_state,
        "finding": act.finding if act else None,
        "claimed_by": image.claimed_by.name if image.claimed_by else None,
        "claimed_until": _iso(image.claimed_until),
    }


def image_document(image: Image, act: Review | None) -> dict[str, Any]:
    """An image with all that is known of it."""
    return {
        "disclaimer": DISCLAIMER,
        **queue_row(image, act),
        "format": image.format,
        "bytes": image.bytes,
        "width": image.width,
        "height": image.height,
        "attempts": image.attempts,
        "predictions": [_prediction(prediction) for prediction in image.predictions],
        "reviews": [review_document(act) for act in image.reviews],
        "receipts": [_receipt(receipt) for receipt in image.receipts],
        "picture": url_for("images.picture", image_id=image.id),
        "map": url_for("images.activation", image_id=image.id) if image.predictions else None,
    }


def review_document(act: Review) -> dict[str, Any]:
    """A reader's act."""
    return {
        "review": act.id,
        "image": act.image_id,
        "prediction": act.prediction_id,
        "action": act.action,
        "finding": act.finding,
        "note": act.note,
        "undoes": act.undoes_id,
        "reader": act.user.name,
        "at": _iso(act.at),
    }


def run_document(run: RunSummary) -> dict[str, Any]:
    """A run and its books."""
    return {
        "run": run.name,
        "started_at": _iso(run.started_at),
        "first_scored_at": _iso(run.first_scored_at),
        "last_scored_at": _iso(run.last_scored_at),
        **asdict(run.file_counts),
    }


def model_document(known: KnownModel) -> dict[str, Any]:
    """A model, less its card."""
    return {
        "sha256": known.model.sha256,
        "name": known.model.name,
        "version": known.model.version,
        "active_since": _iso(known.model.active_since),
        "in_use": known.in_use,
        "scored": known.scored,
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    point = prediction.operating_point
    return {
        "p_normal": prediction.p_normal,
        "p_bacterial": prediction.p_bacterial,
        "p_viral": prediction.p_viral,
        "p_pneumonia": prediction.p_pneumonia,
        "confidence": prediction.confidence,
        "verdict": prediction.verdict,
        "model": {
            "name": prediction.model.name,
            "version": prediction.model.version,
            "sha256": prediction.model.sha256,
        },
        "operating_point": {
            "name": point.name,
            "threshold": point.threshold,
            "band_low": point.band_low,
            "band_high": point.band_high,
        },
        "started_at": _iso(prediction.started_at),
        "finished_at": _iso(prediction.finished_at),
        "compute_ms": prediction.compute_ms,
        "worker": prediction.worker,
        "versions": prediction.versions,
    }


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt": receipt.id,
        "file": receipt.original_name,
        "source": receipt.source,
        "outcome": receipt.outcome,
        "reason": receipt.reason,
        "received_at": _iso(receipt.received_at),
        "received_by": receipt.received_by,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at else None
