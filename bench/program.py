"""Starts a real `nightread up` on a data folder of its own, for a measurement, and asks its ledger how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psutil
from sqlalchemy import func, select

from worker.config import Settings
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Lane
from worker.ledger.tables import Image

FINISHED_WITHIN_S = 86_400.0
_READY_WITHIN_S = 60.0
_POLL_S = 0.1
# SQLite and the bundled broker, whatever the user's settings are.
_BUNDLED = {
    f"{name}{form}": ""
    for name in ("database_url", "migration_database_url", "broker_url")
    for form in ("", "_file")
}


def bundled(settings: Settings, **other: Any) -> Settings:
    """Return the settings with SQLite and the bundled broker, and others of them changed."""
    return settings.model_copy(update={**_BUNDLED, **other})


@contextmanager
def running(settings: Settings, data: Path) -> Iterator[tuple[Settings, psutil.Process]]:
    """Start Nightread on this data folder, wait until it is ready, and stop it at the end.

    Yields its settings, and the supervisor.
    """
    settings = bundled(settings, data=data, inbox=data / "inbox", store="")
    settings.inbox.mkdir(parents=True)
    log_path = data.parent / f"{data.name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up"], env=_environment(settings), stdout=log, stderr=log
        )
        try:
            wait(lambda: b"Nightread is ready" in log_path.read_bytes(), _READY_WITHIN_S, process)
            yield settings, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def wait(condition: Callable[[], bool], seconds: float, process: Any) -> None:
    """Wait for a condition while a process runs. Raises ClickException if it ends, or the time is over."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until or not psutil.pid_exists(process.pid):
            raise click.ClickException("Nightread stopped or took too long. Check that the port is free.")
        time.sleep(_POLL_S)


def images_in(ledger: Ledger, *states: ImageState) -> int:
    """Return how many images that did not come through the page are in one of these states."""
    counted = (Image.lane == Lane.OVERNIGHT) & Image.state.in_(states)
    with ledger.reading() as session:
        return session.scalar(select(func.count()).select_from(Image).where(counted)) or 0


def when_reached(
    ledger: Ledger, least: int, supervisor: psutil.Process, *states: ImageState
) -> tuple[int, float]:
    """Wait until so many images of the folder are in one of the states. Return their number, and the time in seconds."""
    wait(lambda: images_in(ledger, *states) >= least, FINISHED_WITHIN_S, supervisor)
    return images_in(ledger, *states), time.perf_counter()


def rate_between(start: tuple[int, float], end: tuple[int, float]) -> float | None:
    """Return the images a second between two readings; None: so few came that both show the same number."""
    (scored, since), (scored_at_end, until) = start, end
    return None if scored_at_end == scored else round((scored_at_end - scored) / (until - since), 1)


def _environment(settings: Settings) -> dict[str, str]:
    own = settings.model_dump(
        mode="json", include=settings.model_fields_set | {"data", "inbox", "model", "workers"}
    )
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("NIGHTREAD_")},
        **{f"NIGHTREAD_{name.upper()}": str(value) for name, value in own.items()},
    }
