"""A document of the provider that is fetched when it is needed, and kept for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from webui.access.oidc.faults import Fault, SignInFailed

T = TypeVar("T")

_KEEP_S = 3600.0
_LEAST_AGE_S = 30.0
# After a failure, nobody else waits for the provider for this time.
_REST_S = 2.0
_WAIT_FOR_ANOTHER_S = 5.0


class Kept(Generic[T]):
    """A document that one thread at a time fetches. The others wait for it, for a few seconds at most."""

    def __init__(self, fetch: Callable[[], T], now: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing. `fetch` raises SignInFailed if the provider has no usable answer."""
        self._fetch, self._now = fetch, now
        self._lock = threading.Lock()
        self._value: T | None = None
        self._fetched_at = 0.0
        self._failed_at: float | None = None

    def get(self) -> T:
        """Return the document, at most an hour old. Raises SignInFailed."""
        return self._no_older_than(_KEEP_S)

    def renewed(self) -> T:
        """Return the document fetched again, unless it is half a minute old or younger. Raises SignInFailed."""
        return self._no_older_than(_LEAST_AGE_S)

    def _no_older_than(self, age_s: float) -> T:
        if not self._lock.acquire(timeout=_WAIT_FOR_ANOTHER_S):
            raise SignInFailed(Fault.AWAY)
        try:
            if self._value is None or self._now() - self._fetched_at > age_s:
                self._value = self._fetched()
            return self._value
        finally:
            self._lock.release()

    def _fetched(self) -> T:
        if self._failed_at is not None and self._now() - self._failed_at < _REST_S:
            raise SignInFailed(Fault.AWAY)
        try:
            value = self._fetch()
        except SignInFailed:
            self._failed_at = self._now()
            raise
        self._fetched_at, self._failed_at = self._now(), None
        return value
