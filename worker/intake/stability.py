"""Is this file complete? Pure: it is told what was seen and when, and touches no disk.

A file is complete when its size and its modification time have rested over the settle time.
A look at one moment says nothing, at start-up as little as later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """What a scan saw of a file: `seen` is everything that changes while it is written."""

    key: str
    seen: Hashable


class StabilityTracker:
    """Remembers since when each file looks as it does; forgets files that are gone."""

    def __init__(self, settle_s: float) -> None:
        """Call a file complete after `settle_s` seconds without a change."""
        self._settle_s = settle_s
        self._since: dict[str, tuple[Hashable, float]] = {}

    def observe(self, sightings: Iterable[Sighting], now: float) -> list[str]:
        """Take in one whole scan at `now` (monotonic seconds); the keys of the complete files."""
        since: dict[str, tuple[Hashable, float]] = {}
        complete = []
        for sighting in sightings:
            seen, start = self._since.get(sighting.key, (None, now))
            if seen != sighting.seen:
                start = now
            since[sighting.key] = (sighting.seen, start)
            if now - start >= self._settle_s and seen == sighting.seen:
                complete.append(sighting.key)
        self._since = since
        return complete

    @property
    def unsettled(self) -> int:
        """How many files are being watched."""
        return len(self._since)
