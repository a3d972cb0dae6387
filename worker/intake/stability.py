"""Decides whether a file is complete, from what scans saw and when. Does no I/O.

A file is complete when its size and its modification time have not changed for the settle time. One
observation alone is never enough, not even at start-up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """A file as one scan saw it.

    Attributes:
        path: of the file.
        state: everything that changes while the file is written.
        at: when the scan looked at this file, in monotonic seconds. A scan of many files takes long.
    """

    path: str
    state: Hashable
    at: float


class StabilityTracker:
    """Remembers how long each file has been unchanged, and forgets files that are gone."""

    def __init__(self, settle_s: float) -> None:
        """Treat a file as complete after `settle_s` seconds without a change."""
        self._settle_s = settle_s
        self._since: dict[str, tuple[Hashable, float]] = {}
        self._next_due: float | None = None

    def observe(self, sightings: Iterable[Sighting]) -> list[str]:
        """Record one whole scan, and return the paths of the complete files."""
        since: dict[str, tuple[Hashable, float]] = {}
        complete = []
        oldest_unsettled = None
        for sighting in sightings:
            state, start = self._since.get(sighting.path, (None, sighting.at))
            if state != sighting.state:
                start = sighting.at
            since[sighting.path] = (sighting.state, start)
            if sighting.at - start >= self._settle_s and state == sighting.state:
                complete.append(sighting.path)
            elif oldest_unsettled is None or start < oldest_unsettled:
                oldest_unsettled = start
        self._since = since
        self._next_due = None if oldest_unsettled is None else oldest_unsettled + self._settle_s
        return complete

    def rested_s(self, path: str, now: float) -> float:
        """Return for how many seconds a file has been unchanged; 0 for an unknown file."""
        _, start = self._since.get(path, (None, now))
        return now - start

    def due_in(self, now: float) -> float | None:
        """Return the seconds until the next file may be complete, at least 0; None if no file is expected."""
        return None if self._next_due is None else max(0.0, self._next_due - now)
