"""Signs checkpoints at an interval, in a process that holds the key and need not write to the database."""

from __future__ import annotations

import os
import signal
import threading
from functools import cache, partial
from typing import NoReturn

import structlog

from worker.checkpoint_sender import CheckpointSender
from worker.checkpoints import Checkpoints
from worker.config import Settings
from worker.errors import SchemaOutdated, TransientFailure
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.outages import DATABASE, OUTAGES
from worker.repetition import Schedule, run_repeatedly

log = structlog.get_logger(__name__)

# What failed is tried again after this time.
_TICK_S = 1.0


def sign_repeatedly(settings: Settings, period_s: float) -> int:
    """Sign at the start and then once in `period_s` seconds, until SIGTERM or SIGINT. Return 1 after a defect.

    While the database or the disk is away, the work waits, with one warning a minute.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _end)
    checkpoints = Checkpoints(settings.checkpoints_path, settings.checkpoint_key_path)
    sender = CheckpointSender(settings.checkpoint_command, settings.checkpoints_path)
    ledger = cache(partial(_open, settings.database))

    def sign() -> None:
        checkpoint = checkpoints.take(ledger())
        if checkpoint is not None:
            log.info("a checkpoint was signed", event_number=checkpoint.seq, hash=checkpoint.hash)
            sender.request()

    schedule = Schedule((), sign, period_s, at_once=True)

    def work() -> None:
        schedule.run()
        # A signature that failed would be due still.
        OUTAGES.worked(DATABASE)
        sender.poll()

    defects: list[Exception] = []
    run_repeatedly(threading.Event(), _TICK_S, work, None, defects)
    return 1 if defects else 0


def _end(*_: object) -> NoReturn:
    """End at once, also while a database does not answer: what is half done is done again after the next start.

    Not with an exception: one that is raised in a finalizer of a database connection would be lost, and the process would
    go on.
    """
    os._exit(0)


def _open(url: str) -> Ledger:
    try:
        return open_ledger(url)
    except SchemaOutdated as error:
        # Another process upgrades it, perhaps on another machine.
        raise TransientFailure(str(error)) from None
