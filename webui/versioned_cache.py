"""Figures that are worked out from thousands of images, kept in memory: to do so for each request would take too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

# A value is worked out again at the earliest after ten times as long as it took. So while readers work or a candidate
# scores, only one request in ten waits, and a figure is a second or two old at most.
_KEEP_FACTOR = 10.0

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Kept(Generic[Value]):
    """A value, what it was worked out from, the version of the ledger then, and until when it need not be done again."""

    of: object
    version: tuple[int, ...]
    until: float
    value: Value


class VersionedCache(Generic[Value]):
    """The latest value, shared by all threads."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock = threading.Lock()
        self._kept: _Kept[Value] | None = None

    def of(self, of: object, version: tuple[int, ...], read: Callable[[], Value]) -> Value:
        """Return what `read` returns for `of`, or what it returned if the ledger still has this version or that was just now."""
        started = time.monotonic()
        with self._lock:
            kept = self._kept
        if kept is not None and kept.of == of and (kept.version == version or started < kept.until):
            return kept.value
        value = read()
        finished = time.monotonic()
        with self._lock:
            self._kept = _Kept(of, version, finished + _KEEP_FACTOR * (finished - started), value)
        return value
