"""Outages: one warning a minute while this process cannot use a database or broker, and one line when it is back."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

_WARN_AGAIN_S = 60.0
# Some calls may work while others fail, for example on a full disk. So the outage ends after this time without failure.
_QUIET_S = 10.0


@dataclass
class _Outage:
    warned_at: float
    failed_at: float


class Outages:
    """The databases and brokers that this process cannot use now; all its threads share one instance."""

    def __init__(self) -> None:
        """Start without an outage."""
        self._lock = threading.Lock()
        self._outages: dict[str, _Outage] = {}

    def failed(self, what: str, error: Exception) -> None:
        """Note that `what` could not be used; warn if nobody warned in the last minute."""
        now = time.monotonic()
        with self._lock:
            outage = self._outages.setdefault(what, _Outage(now - _WARN_AGAIN_S, now))
            outage.failed_at = now
            if now - outage.warned_at < _WARN_AGAIN_S:
                return
            outage.warned_at = now
        log.warning("out of reach: work waits, and nothing is lost", what=what, error=str(error))

    def worked(self, what: str) -> None:
        """Note that `what` was used; say that it is back if it had failed, but not in the last seconds."""
        with self._lock:
            outage = self._outages.get(what)
            if outage is None or time.monotonic() - outage.failed_at < _QUIET_S:
                return
            del self._outages[what]
        log.info("within reach again", what=what)


# Of this process, like its logs. Nothing is connected here.
OUTAGES = Outages()
DATABASE, BROKER = "the database", "the broker"
