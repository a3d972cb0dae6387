"""Makes the renditions of images that a person should read, before anybody opens them.

Scoring comes first: nothing is drawn while an image is being scored, and what was begun goes on with the lowest priority.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta

from worker.config import Settings
from worker.ledger import leases
from worker.ledger.predictions import unread_since
from worker.ledger.session import Ledger, ledger_time
from worker.renditions.bounded import NoRendition
from worker.renditions.maker import Maker
from worker.renditions.pack import Kind
from worker.store import Store

# Older images are shown on demand: an update must not fill the disk.
_RECENT = timedelta(days=7)
# A transaction that takes this long to commit is not overlooked.
_OVERLAP = timedelta(seconds=60)
_AT_ONCE = 1_000
_LOWEST_PRIORITY = 19
# With the lowest priority, a busy machine may give it hardly any time.
_WALL_S = 600.0
_LOOK_AGAIN_S = 1.0


class AheadOfReading:
    """Follows the predictions in the order in which they were made."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Begin with the predictions of the last week."""
        self._ledger = ledger
        self._maker = Maker(settings, store)
        self._since: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Make what is missing, one image after the other, until `stop` is set.

        Raises TransientFailure; the next run begins with the same images.
        """
        self._maker.area.remove_abandoned()
        more = True
        while more:
            hashes, since = self._next()
            for sha256 in hashes:
                if stop.is_set():
                    return
                if not self._maker.area.has(sha256):
                    self._make(sha256, stop)
            more = len(hashes) == _AT_ONCE and since != self._since
            self._since = since

    def _next(self) -> tuple[list[str], datetime]:
        """Return the hashes of the next images, and the time at which those after them begin."""
        with self._ledger.reading() as session:
            at = ledger_time(session)
            since = self._since or at - _RECENT
            rows = unread_since(session, since, _AT_ONCE)
        last = max(since, min(rows[-1].finished_at, at - _OVERLAP)) if rows else since
        return [row.sha256 for row in rows], last

    def _wait_for_scoring(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._ledger.reading() as session:
                if not leases.any_leased(session):
                    return
            stop.wait(_LOOK_AGAIN_S)

    def _make(self, sha256: str, stop: threading.Event) -> None:
        self._wait_for_scoring(stop)
        if not stop.is_set():
            with suppress(NoRendition):
                self._maker.make(sha256, Kind.FULL, wall_s=_WALL_S, niceness=_LOWEST_PRIORITY, stop=stop)
