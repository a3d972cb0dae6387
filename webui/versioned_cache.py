"""Keeps figures in memory that are computed from thousands of images: to compute them for each request would take too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

# A value is computed again at the earliest after ten times as long as it took. So while readers work or a candidate
# scores, only one request in ten waits, and a figure is a second or two old at most.
_KEEP_FACTOR = 10.0

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Kept(Generic[Value]):
    """A value, its key, the version of the ledger that it was computed from, and until when it is not computed again."""

    key: object
    version: tuple[int, ...]
    until: float
    value: Value


class VersionedCache(Generic[Value]):
    """The latest value, shared by all threads."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock = threading.Lock()
        self._kept: _Kept[Value] | None = None

    def get(self, key: object, version: tuple[int, ...], compute: Callable[[], Value]) -> Value:
        """Return the value of a key: the kept one if it is of this version of the ledger, or very recent; else a new one."""
        started = time.monotonic()
        with self._lock:
            kept = self._kept
        if kept is not None and kept.key == key and (kept.version == version or started < kept.until):
            return kept.value
        value = compute()
        finished = time.monotonic()
        with self._lock:
            self._kept = _Kept(key, version, finished + _KEEP_FACTOR * (finished - started), value)
        return value
