"""How many connections there may be at once: in all, and from one address. Does no I/O.

Above the limits, a few more connections are accepted, so that their senders are told that there is no place for them
(A-ASSOCIATE-RJ, "local limit exceeded": PS3.8, 9.3.4). Any further one is closed.
"""

from __future__ import annotations

import threading
from collections import Counter
from enum import Enum

_TOLD = 8


class Place(Enum):
    """What a connection gets: a place, the answer that there is none, or nothing."""

    FREE = "free"
    TOLD = "told"
    NONE = "none"


class Places:
    """The connections that are open; all threads share one instance."""

    def __init__(self, most: int, most_of_an_address: int) -> None:
        """Let so many connections be open."""
        self._most, self._most_of_an_address = most, most_of_an_address
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._told = 0

    def take(self, address: str) -> Place:
        """Take a place for a connection. Unless it is NONE, call `leave` when the connection has ended."""
        with self._lock:
            if self._taken.total() < self._most and self._taken[address] < self._most_of_an_address:
                self._taken[address] += 1
                return Place.FREE
            if self._told < _TOLD:
                self._told += 1
                return Place.TOLD
            return Place.NONE

    def leave(self, address: str, place: Place) -> None:
        """Give a place back."""
        with self._lock:
            if place is Place.TOLD:
                self._told -= 1
            elif place is Place.FREE:
                self._taken[address] -= 1
                # Without the entries of addresses that are gone.
                self._taken += Counter()
