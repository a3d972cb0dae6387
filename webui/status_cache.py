"""A cache of the status document, whose figures stand in the strip at the top of every page."""

from __future__ import annotations

import threading
import time
from typing import Any

from worker.errors import TransientFailure
from worker.ledger import reading_queue
from worker.ledger.reading_queue import QueueFilter
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.status import status_document

# A document is kept ten times as long as it took to read, so that a slow database spends at most a
# tenth of its time on it.
_KEEP_FACTOR = 10.0
_MAX_AGE_S = 5.0


class StatusCache:
    """One status document, shared by all threads. The number of images to read is never old."""

    def __init__(self, ledger: Ledger) -> None:
        """Read nothing yet."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._valid_until = 0.0

    def read(self) -> dict[str, Any] | None:
        """Return a status document of at most a few seconds' age; None while the database is unreachable."""
        with self._lock:
            started = time.monotonic()
            if started >= self._valid_until:
                self._document = self._read_ledger()
                finished = time.monotonic()
                self._valid_until = finished + min(_MAX_AGE_S, _KEEP_FACTOR * (finished - started))
            document = self._document
        return None if document is None else self._with_fresh_number(document)

    def _with_fresh_number(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Replace the number of images to read, so that it is the same one everywhere on a page."""
        try:
            with self._ledger.reading() as session:
                return document | {"unread": reading_queue.count(session, QueueFilter())}
        except TransientFailure:
            return None

    def _read_ledger(self) -> dict[str, Any] | None:
        try:
            with self._ledger.reading() as session:
                return status_document(session, ledger_time(session))
        except TransientFailure:
            return None
