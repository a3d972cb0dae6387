"""`nightread status`: the file count, the scoring rate and the processes."""

from __future__ import annotations

import socket
import time
from typing import Any

from worker.card.identity import is_shipped
from worker.durations import duration
from worker.ledger.file_counts import equation
from worker.ledger.heartbeats import process_statuses
from worker.ledger.models import registered_models
from worker.ledger.process_health import NEEDED
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.status import status_document

_REFRESH_S = 2.0


def document(ledger: Ledger) -> dict[str, Any]:
    """Return the document that `status --json` prints."""
    with ledger.reading() as session:
        models = registered_models(session)
        model = models[0].model if models and models[0].is_active else None
        return status_document(session, ledger_time(session)) | {
            "model": model
            and {
                "name": model.name,
                "version": model.version,
                "sha256": model.sha256,
                "verified": is_shipped(model.sha256, model.card),
            }
        }


def is_alive(ledger: Ledger, process: str) -> bool:
    """Return whether the named process on this host has sent a heartbeat in time."""
    with ledger.reading() as session:
        statuses = process_statuses(session, ledger_time(session))
    this_process = (process, socket.gethostname())
    return any(not status.silent for status in statuses if (status.name, status.host) == this_process)


def as_text(status: dict[str, Any]) -> str:
    """Return the document as text for people."""
    lines = [
        "All files are accounted for."
        if status["balanced"]
        else "FILES ARE UNACCOUNTED FOR: run `nightread db check`.",
        f"  {equation(status)}",
        _reading_line(status),
        _rate_line(status),
        *[_process_line(process) for process in status["processes"]],
        _canary_line(status["canary"]),
        _model_line(status["model"]),
        *[f"  MISSING  {name}" for name in NEEDED if name not in _process_names(status)],
    ]
    return "\n".join(line for line in lines if line)


def pause() -> None:
    """Wait before the next refresh."""
    time.sleep(_REFRESH_S)


def _reading_line(status: dict[str, Any]) -> str:
    to_read = f"{status['flagged']} flagged or uncertain ({status['uncertain']} uncertain)"
    return f"  {to_read}, {status['unread']} unread"


def _rate_line(status: dict[str, Any]) -> str:
    if not status["pending"] + status["leased"]:
        return ""
    if status["eta_s"] is None:
        return "  No image has been scored in the last minute."
    return f"  {status['images_per_s']:.1f} images a second, about {duration(status['eta_s'])} left"


def _canary_line(canary: dict[str, Any] | None) -> str:
    if canary is None:
        return ""
    label = {True: "ok      ", False: "WRONG   ", None: "waiting "}[canary["ok"]]
    detail = canary["trouble"] or canary["state"]
    return f"  {label} canary   image {canary['image']}, sent {canary['received_at']}: {detail}"


def _model_line(model: dict[str, Any] | None) -> str:
    if model is None:
        return ""
    label = "ok      " if model["verified"] else "UNKNOWN "
    known = "" if model["verified"] else ": not verified, Nightread does not ship it"
    return f"  {label} model    {model['name']} {model['version']}, {model['sha256'][:12]}{known}"


def _process_names(status: dict[str, Any]) -> set[str]:
    return {process["name"] for process in status["processes"]}


def _process_line(process: dict[str, Any]) -> str:
    label = "SILENT  " if process["silent"] else "WAITING " if process["trouble"] else "ok      "
    age = duration(process["heartbeat_age_s"])
    line = f"  {label} {process['name']:<8} on {process['host']}, heartbeat {age} ago"
    return f"{line}: {process['trouble']}" if process["trouble"] else line
