"""Is this file complete? Pure: it is told what was seen and when, and touches no disk.

A file is complete when its size and its modification time have rested over the settle time.
A look at one moment says nothing, at start-up as little as later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """What a scan saw of a file: `state` is everything that changes while it is written."""

    path: str
    state: Hashable


class StabilityTracker:
    """Remembers since when each file looks as it does; forgets files that are gone."""

    def __init__(self, settle_s: float) -> None:
        """Call a file complete after `settle_s` seconds without a change."""
        self._settle_s = settle_s
        self._since: dict[str, tuple[Hashable, float]] = {}
        self._next_due: float | None = None

    def observe(self, sightings: Iterable[Sighting], now: float) -> list[str]:
        """Take in one whole scan at `now` (monotonic seconds); the keys of the complete files."""
        since: dict[str, tuple[Hashable, float]] = {}
        complete = []
        oldest_unsettled = None
        for sighting in sightings:
            state, start = self._since.get(sighting.path, (None, now))
            if state != sighting.state:
                start = now
            since[sighting.path] = (sighting.state, start)
            if now - start >= self._settle_s and state == sighting.state:
                complete.append(sighting.path)
            elif oldest_unsettled is None or start < oldest_unsettled:
                oldest_unsettled = start
        self._since = since
        self._next_due = None if oldest_unsettled is None else oldest_unsettled + self._settle_s
        return complete

    def due_in(self, now: float) -> float | None:
        """Seconds until a file may become complete, never negative; None if none is on its way."""
        return None if self._next_due is None else max(0.0, self._next_due - now)
