"""Work that a process repeats until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from worker.errors import DatabaseAway, TransientFailure
from worker.heartbeat import Heartbeat
from worker.outages import DATABASE, OUTAGES

log = structlog.get_logger(__name__)

_WARN_AGAIN_S = 60.0


class Schedule:
    """Work that is done on every run, and work that is done once in a period of seconds."""

    def __init__(
        self,
        frequent: Sequence[Callable[[], object]],
        rare: Callable[[], object],
        period_s: float,
        *,
        at_once: bool = False,
    ) -> None:
        """Do the rare work for the first time after one period, or `at_once`."""
        self._frequent, self._rare, self._period_s = frequent, rare, period_s
        self._next = time.monotonic() + (0.0 if at_once else period_s)

    def run(self) -> None:
        """Do the work that is due. Raises what the work raises; rare work that failed stays due."""
        for work in self._frequent:
            work()
        if time.monotonic() >= self._next:
            self._rare()
            self._next = time.monotonic() + self._period_s


def run_repeatedly(
    stop: threading.Event,
    period_s: float,
    work_once: Callable[[], object],
    heartbeat: Heartbeat | None,
    defects: list[Exception],
) -> None:
    """Repeat the work until `stop` is set. After a transient failure, try again later; a defect sets `stop`."""
    warned_at = None
    while not stop.is_set():
        try:
            work_once()
            warned_at = None
            if heartbeat is not None:
                heartbeat.worked()
        except TransientFailure as failure:
            # A night with a full disk must not write ten thousand lines to the log.
            if isinstance(failure, DatabaseAway):
                OUTAGES.failed(DATABASE, failure)
            elif warned_at is None or time.monotonic() - warned_at >= _WARN_AGAIN_S:
                log.warning("work has to wait", error=str(failure))
                warned_at = time.monotonic()
            if heartbeat is not None:
                heartbeat.waits(str(failure))
        except Exception as defect:
            log.exception("a defect stopped this process; the supervisor restarts it")
            defects.append(defect)
            stop.set()
        stop.wait(period_s)
