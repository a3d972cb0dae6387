"""Logs of defects: where one happened and of which kind it is, but not its text, which may quote what a peer sent."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def log_defect(what: str, error: BaseException) -> None:
    """Log that a defect had this effect."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    log.error(what, error=type(error).__name__, at=" ".join(places))


def log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    """Log that a thread ended with an error, instead of printing it.

    A peer can bring pynetdicom to raise an error of its own, as often as it likes: such a thread just ends.
    """
    if arguments.exc_value is not None and not arguments.exc_type.__module__.startswith("pynetdicom."):
        log_defect("a thread of the receiver ended", arguments.exc_value)
