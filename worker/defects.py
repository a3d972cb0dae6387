"""Logs of defects: where one happened and of which kind it is, but not its text, which may quote what a stranger sent."""

from __future__ import annotations

import traceback
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def log_defect(what: str, error: BaseException) -> None:
    """Log that a defect had this effect."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    log.error(what, error=type(error).__name__, at=" ".join(places))
