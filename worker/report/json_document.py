"""The morning report as one JSON document."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from worker import DISCLAIMER
from worker.ledger.reports import RunFigures
from worker.ledger.session import utc_now
from worker.report import content
from worker.report.content import Report


def as_json(report: Report) -> str:
    """Return the report as indented JSON text."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"


def document(report: Report) -> dict[str, object]:
    """Return the report as plain data; times are ISO 8601 in UTC."""
    figures = report.figures
    return {
        "disclaimer": DISCLAIMER,
        "run": figures.run.name,
        "run_id": figures.run.id,
        "written_at": utc_now().isoformat(timespec="seconds"),
        "started_at": _iso(figures.run.started_at),
        "first_scored_at": _iso(figures.run.first_scored_at),
        "last_scored_at": _iso(figures.run.last_scored_at),
        **asdict(figures.run.file_counts),
        "flagged_images": [_scored_image(figures, image) for image in figures.flagged],
        "clear_images": [_scored_image(figures, image) for image in figures.clear],
        "turned_away_images": [_other_image(figures, image) for image in figures.rejected],
        "other_images": [_other_image(figures, image) for image in figures.others],
        "turned_away_why": content.reason_counts(figures),
        "slowest": content.slowest_rows(figures),
        "look_at": [*report.cut, *report.look_at],
    }


def _scored_image(figures: RunFigures, image: Row[Any]) -> dict[str, object]:
    return (
        content.flagged_row(figures, image)
        | {"population": image.population, "distance": image.distance}
        | content.site_row(figures, image)
        | content.patient_row(figures, image)
        | content.reading_row(figures, image.id)
    )


def _other_image(figures: RunFigures, image: Row[Any]) -> dict[str, object]:
    return (
        content.rejected_row(image)
        | content.patient_row(figures, image)
        | content.reading_row(figures, image.id)
    )


def _iso(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
