"""The Celery tasks, and the setup of each scoring process.

A task screens a chunk of images, checks older predictions, or scores images with a candidate.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import structlog
from billiard.process import current_process
from celery import Celery, signals

from worker.catalogue import active_sha256, open_scorer_of
from worker.config import Settings
from worker.errors import DatabaseAway, ModelUnusable, TransientFailure
from worker.heartbeat import Heartbeat
from worker.ledger.heartbeats import scoring_name
from worker.ledger.session import Ledger
from worker.outages import DATABASE, OUTAGES
from worker.queue.app import RECHECK_TASK, SCREEN_TASK, SHADOW_TASK
from worker.queue.memory_limit import limit_memory
from worker.rechecking import Rechecker
from worker.screening import Screener
from worker.shadowing import Shadower
from worker.store import Store, open_store

log = structlog.get_logger(__name__)


class _ScoringProcess:
    """Loads what one scoring process needs: in the child process, never in its parent."""

    def __init__(self, settings: Settings, stopping: Callable[[], bool]) -> None:
        self._settings = settings
        self._stopping = stopping
        self._loaded: tuple[str | None, Screener, Rechecker] | None = None

    def screener(self) -> Screener:
        """Return the screener of the active model. Raises ModelUnusable or TransientFailure."""
        return self._active()[1]

    def rechecker(self) -> Rechecker:
        """Return the rechecker of the active model. Raises ModelUnusable or TransientFailure."""
        return self._active()[2]

    def _active(self) -> tuple[str | None, Screener, Rechecker]:
        """Load the active model if it is another one than before. Until it is loaded, no image is leased."""
        sha256 = active_sha256(self._ledger)
        if self._loaded is None or self._loaded[0] != sha256:
            scorer = open_scorer_of(self._settings, sha256)
            screener = Screener(self._settings, self._ledger, self._store, scorer, self._stopping)
            rechecker = Rechecker(self._settings, self._ledger, self._store, scorer, screener)
            if self._loaded is not None:
                log.info("another model is active", model=scorer.bundle.sha256)
            self._loaded = sha256, screener, rechecker
        return self._loaded

    @cached_property
    def shadower(self) -> Shadower:
        return Shadower(self._settings, self._ledger, self._store)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._settings.database)

    @cached_property
    def _store(self) -> Store:
        return open_store(self._settings)

    @cached_property
    def heartbeat(self) -> Heartbeat:
        """The heartbeats of this scoring process; Celery numbers the processes from 0, and reuses the numbers."""
        number = current_process().index + 1
        return Heartbeat(self._settings, Ledger(self._settings.database), scoring_name(number))


def register(app: Celery, settings: Settings) -> None:
    """Register the tasks, and load the model in each scoring process when it starts."""
    # The worker shares this byte with its scoring processes, which it forks. A stop reaches none of them but by this: they
    # ignore SIGTERM, so that they can finish what they have begun.
    stopping = mmap.mmap(-1, 1)
    process = _ScoringProcess(settings, lambda: stopping[0] != 0)

    def screen(image_ids: list[int]) -> None:
        # No retry here: the images are pending again, or will be when their lease ends.
        with _failures_logged("a chunk could not be scored; it is tried again later", images=image_ids):
            process.screener().screen(image_ids)

    def recheck() -> None:
        with _failures_logged("older predictions could not be checked; it is tried again later"):
            process.rechecker().run()

    def shadow() -> None:
        with _failures_logged("the candidate could not score; it is tried again later"):
            process.shadower.run()

    app.task(name=SCREEN_TASK)(screen)
    app.task(name=RECHECK_TASK)(recheck)
    app.task(name=SHADOW_TASK)(shadow)

    def warm_up(**_: object) -> None:
        limit_memory(settings.worker_memory_bytes)
        process.heartbeat.__enter__()
        # Celery kills a child that needs more than 4 seconds here. TensorFlow does, so it is loaded later.
        if settings.runtime == "litert":
            try:
                process.screener()
            except (ModelUnusable, TransientFailure) as failure:
                log.warning("the model could not be loaded yet", error=str(failure))

    def stop(**_: object) -> None:
        process.heartbeat.__exit__(None, None, None)

    def note_stop(**_: object) -> None:
        stopping[0] = 1

    signals.worker_shutting_down.connect(note_stop, weak=False)
    signals.worker_process_init.connect(warm_up, weak=False)
    signals.worker_process_shutdown.connect(stop, weak=False)


@contextmanager
def _failures_logged(message: str, **details: object) -> Iterator[None]:
    """Log a transient failure; stop the worker if its model cannot be used."""
    try:
        yield
    except DatabaseAway as failure:
        OUTAGES.failed(DATABASE, failure)
    except TransientFailure as failure:
        log.warning(message, error=str(failure), **details)
    except ModelUnusable as unusable:
        log.critical("the worker stops because its model cannot be used", error=str(unusable))
        os.kill(os.getppid(), signal.SIGTERM)
        raise
