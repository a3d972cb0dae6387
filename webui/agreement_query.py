"""The figures of readings for page and API."""

from __future__ import annotations

from sqlalchemy.orm import Session

from webui.dependencies import dependencies
from worker.ledger import missed_cases, read_cases
from worker.report.reading_figures import ReadingFigures, reading_counts, reading_figures


def figures_of_readings(session: Session, *, names: bool) -> ReadingFigures:
    """Return how readers agree and what the model missed. Without `names`, numbers stand for readers."""
    extent = missed_cases.extent(session)
    counts = dependencies().reading_counts.get(
        extent, read_cases.version(session), lambda: reading_counts(session, extent)
    )
    return reading_figures(session, counts, names=names)
