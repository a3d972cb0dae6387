"""The read cases of the site in memory: to read 5,000 images again for each step of a slider would take too long."""

from __future__ import annotations

import threading

from sqlalchemy.orm import Session

from worker.ledger import read_cases
from worker.ledger.missed_cases import Extent
from worker.report.site_cases import SiteCases


class ReadCasesCache:
    """The cases of one extent and model, shared by all threads. They are read again once anything that they hang on changed."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock = threading.Lock()
        self._kept: tuple[object, SiteCases] | None = None

    def of(self, session: Session, extent: Extent, model_sha256: str) -> SiteCases:
        """Return the cases of the runs of an extent that a model scored last."""
        runs = tuple(extent.runs)
        key = model_sha256, runs, extent.images, extent.latest, read_cases.version(session)
        with self._lock:
            if self._kept is not None and self._kept[0] == key:
                return self._kept[1]
        read = read_cases.read_cases(session, runs, model_sha256)
        cases = SiteCases.of(read.images, read.score_first)
        with self._lock:
            self._kept = key, cases
        return cases
