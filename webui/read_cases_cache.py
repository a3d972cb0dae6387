"""The read cases of the site in memory: to read 5,000 images again for each step of a slider would take too long."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from worker.ledger import read_cases
from worker.ledger.missed_cases import Extent
from worker.report.site_cases import SiteCases

# Cases are read again at the earliest after ten times as long as it took to read them. So readers who work meanwhile make
# only one request in ten wait, and a figure is a second or two old at most.
_KEEP_FACTOR = 10.0


@dataclass(frozen=True)
class _Kept:
    """Cases, what they were read of, the version of the ledger then, and until when they need not be read again."""

    of: object
    version: tuple[int, ...]
    until: float
    cases: SiteCases


class ReadCasesCache:
    """The cases of one extent and model, shared by all threads."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock = threading.Lock()
        self._kept: _Kept | None = None

    def of(self, session: Session, extent: Extent, model_sha256: str) -> SiteCases:
        """Return the cases of the runs of an extent that a model scored last."""
        of = model_sha256, tuple(extent.runs), extent.images, extent.latest
        version, started = read_cases.version(session), time.monotonic()
        with self._lock:
            kept = self._kept
        if kept is not None and kept.of == of and (kept.version == version or started < kept.until):
            return kept.cases
        read = read_cases.read_cases(session, list(extent.runs), model_sha256)
        cases = SiteCases.of(read.images, read.score_first)
        finished = time.monotonic()
        with self._lock:
            self._kept = _Kept(of, version, finished + _KEEP_FACTOR * (finished - started), cases)
        return cases
