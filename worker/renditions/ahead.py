"""Makes the renditions of images that a person should read, before anybody opens them.

It works beside the scoring processes with the lowest priority, so that it uses only time that they leave.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime, timedelta

from worker.config import Settings
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


class AheadOfReading:
    """Follows the predictions in the order in which they were made."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Begin with the predictions of the last week."""
        self._ledger = ledger
        self._maker = Maker(settings, store)
        self._since: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Make what is missing, one image after the other, until `stop` is set. Raises TransientFailure."""
        self._maker.area.remove_abandoned()
        more = True
        while more:
            hashes, more = self._next()
            for sha256 in hashes:
                if stop.is_set():
                    return
                self._make(sha256, stop)

    def _next(self) -> tuple[list[str], bool]:
        """Return the hashes of the next images, and whether to ask for more at once."""
        with self._ledger.reading() as session:
            at = ledger_time(session)
            since = self._since or at - _RECENT
            rows = unread_since(session, since, _AT_ONCE)
        self._since = max(since, min(rows[-1].finished_at, at - _OVERLAP)) if rows else since
        return [row.sha256 for row in rows], len(rows) == _AT_ONCE and self._since > since

    def _make(self, sha256: str, stop: threading.Event) -> None:
        if not self._maker.area.has(sha256):
            with suppress(NoRendition):
                self._maker.make(sha256, Kind.FULL, wall_s=_WALL_S, niceness=_LOWEST_PRIORITY, stop=stop)
