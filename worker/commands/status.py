"""`nightread status`: the books, the rate and the signs of life."""

from __future__ import annotations

import socket
import time
from typing import Any

from worker.ledger.heartbeats import process_statuses
from worker.ledger.process_health import NEEDED
from worker.ledger.reports import status_document
from worker.ledger.session import Ledger, ledger_time


def document(ledger: Ledger) -> dict[str, Any]:
    """What `status --json` prints."""
    with ledger.reading() as session:
        return status_document(session, ledger_time(session))


def is_alive(ledger: Ledger, process: str) -> bool:
    """Whether the process of this name and this host has given a sign of life in time."""
    with ledger.reading() as session:
        beats = process_statuses(session, ledger_time(session))
    return any(not beat.silent for beat in beats if (beat.name, beat.host) == (process, socket.gethostname()))


def as_text(said: dict[str, Any]) -> str:
    """The document for people."""
    equation = (
        f"{said['received']} received = {said['duplicates']} duplicates + {said['scored']} scored"
        f" + {said['rejected']} rejected + {said['quarantined']} quarantined"
        f" + {said['pending']} pending + {said['leased']} leased"
    )
    balance = (
        "The books balance." if said["balanced"] else "THE BOOKS DO NOT BALANCE. Run `nightread db check`."
    )
    lines = [
        balance,
        f"  {equation}",
        f"  {said['flagged']} flagged for reading ({said['uncertain']} uncertain), {said['unread']} not read yet",
        _pace(said),
        *[_life(process) for process in said["processes"]],
        _canary(said["canary"]),
        *[f"  NONE   {name}" for name in NEEDED if name not in _names(said)],
    ]
    return "\n".join(line for line in lines if line)


def pause() -> None:
    """Wait between two looks."""
    time.sleep(2)


def _pace(said: dict[str, Any]) -> str:
    if not said["pending"] + said["leased"]:
        return ""
    if said["eta_s"] is None:
        return "  Nothing is being scored now."
    return f"  {said['images_per_s']:.1f} images a second, about {said['eta_s'] / 60:.0f} min left"


def _canary(said: dict[str, Any] | None) -> str:
    if said is None:
        return ""
    state = {True: "ok    ", False: "WRONG ", None: "waits "}[said["ok"]]
    return f"  {state} canary   image {said['image']}, of {said['received_at']}: {said['trouble'] or said['state']}"


def _names(said: dict[str, Any]) -> set[str]:
    return {process["name"] for process in said["processes"]}


def _life(process: dict[str, Any]) -> str:
    state = "SILENT" if process["silent"] else "WAITS " if process["trouble"] else "ok    "
    said = f"  {state} {process['name']:<8} on {process['host']}, {process['heartbeat_age_s']:.0f} s ago"
    return f"{said}: {process['trouble']}" if process["trouble"] else said
