"""Renditions for somebody who waits: from the area, else made now, a few at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.config import Settings
from worker.renditions.bounded import NoRendition
from worker.renditions.maker import Maker
from worker.renditions.pack import Kind, Rendition
from worker.store import Store

# Each bounded process may use `rendition_memory_bytes`.
_AT_ONCE = 2
# Each caller occupies a thread of the web server, so their number is limited. Whoever opens an image may wait when a
# list of thumbnails already does.
WAITING = 8
_WAITING_FOR_SMALL_ONES = 4


class OnDemand:
    """Returns renditions to the threads of one process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Use the renditions of `store`."""
        self._maker = Maker(settings, store)
        self._deadline_s = settings.rendition_s
        self._making = threading.Semaphore(_AT_ONCE)
        self._waiting = threading.Semaphore(WAITING)
        self._waiting_for_small_ones = threading.Semaphore(_WAITING_FOR_SMALL_ONES)

    def get(self, sha256: str, kind: Kind) -> Rendition:
        """Return a rendition. Raises NoRendition: it cannot be made, or not before the deadline."""
        until = time.monotonic() + self._deadline_s
        found = self._maker.area.find(sha256, kind)
        if found is not None:
            return found
        failure = self._maker.area.failure(sha256)
        if failure is not None:
            raise NoRendition(failure, lasting=True)
        with self._place(kind), _held(self._making, until - time.monotonic()):
            # Another thread may have made them meanwhile.
            found = self._maker.area.find(sha256, kind)
            wall_s = until - time.monotonic()
            return found or self._maker.make(sha256, kind, wall_s=wall_s)

    @contextmanager
    def _place(self, kind: Kind) -> Iterator[None]:
        if kind in {Kind.FULL, Kind.VALUES}:
            with _held(self._waiting, 0):
                yield
        else:
            with _held(self._waiting_for_small_ones, 0), _held(self._waiting, 0):
                yield


@contextmanager
def _held(places: threading.Semaphore, wait_s: float) -> Iterator[None]:
    """Hold one of the places. Raises NoRendition if none is free in time."""
    if not places.acquire(timeout=max(0.0, wait_s)):
        raise NoRendition("Other pictures are being prepared. Try again.", lasting=False)
    try:
        yield
    finally:
        places.release()
