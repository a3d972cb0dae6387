"""Thin tasks: ids in, one use-case called. And what a worker process needs around them."""

from __future__ import annotations

import os
import signal
from functools import cached_property

import structlog
from celery import Celery, signals

from worker.config import Settings
from worker.errors import ModelUnusable, TransientFailure
from worker.queue.app import SCREEN_TASK
from worker.queue.memory_limit import limit_memory
from worker.screening import Screener, open_screener

log = structlog.get_logger(__name__)


class _LazyScreener:
    """Holds the screener of one worker process: made in the child, never in the parent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def screener(self) -> Screener:
        return open_screener(self._settings)

    def load(self) -> None:
        """Make the screener now rather than with the first task."""
        self.screener  # noqa: B018 - the property keeps it


def register(app: Celery, settings: Settings) -> None:
    """Give the application its tasks, and each child of the worker its model."""
    lazy = _LazyScreener(settings)

    def screen(image_ids: list[int]) -> None:
        try:
            lazy.screener.screen(image_ids)
        except TransientFailure as failure:
            # Nothing to retry here: the images are pending again, or will be when the lease ends.
            log.warning("a chunk could not be scored now", images=image_ids, error=str(failure))
        except ModelUnusable as unusable:
            log.critical("the worker stops: its model cannot be used", error=str(unusable))
            os.kill(os.getppid(), signal.SIGTERM)
            raise

    app.task(name=SCREEN_TASK)(screen)

    def warm_up(**_: object) -> None:
        limit_memory(settings.worker_memory_bytes)
        # Celery kills a child that takes over 4 seconds here, and TensorFlow does: it loads later.
        if settings.runtime == "litert":
            try:
                lazy.load()
            except (ModelUnusable, TransientFailure) as failure:
                log.warning("the model is not loaded yet", error=str(failure))

    signals.worker_process_init.connect(warm_up, weak=False)
