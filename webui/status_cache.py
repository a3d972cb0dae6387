"""The figures of the strip on top of every page, asked of the ledger now and then."""

from __future__ import annotations

import threading
import time
from typing import Any

from worker.errors import TransientFailure
from worker.ledger import reports
from worker.ledger.session import Ledger, ledger_time

# However slow the database is: at most a tenth of the time goes into it.
_REST = 10.0
_LONGEST_REST_S = 5.0


class StatusCache:
    """One status document for all threads, so that most pages ask for none of their own."""

    def __init__(self, ledger: Ledger) -> None:
        """Ask nothing yet."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._document: dict[str, Any] | None = None
        self._fresh_until = 0.0

    def read(self) -> dict[str, Any] | None:
        """The status document; None while the database is out of reach."""
        with self._lock:
            asked = time.monotonic()
            if asked >= self._fresh_until:
                self._document = self._ask()
                answered = time.monotonic()
                self._fresh_until = answered + min(_LONGEST_REST_S, _REST * (answered - asked))
            return self._document

    def _ask(self) -> dict[str, Any] | None:
        try:
            with self._ledger.reading() as session:
                return reports.status_document(session, ledger_time(session))
        except TransientFailure:
            return None
