"""Admits the body of a request: how long it may be, and whether the disk has space for it.

A body is received to the disk before a thread of the application sees it, and an upload is then copied to files of its
own. So a request reserves twice its length, before its first byte is received.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from webui.uploads import MAX_SIZE_FILES_PER_REQUEST
from worker.config import Settings

UPLOAD_PATHS = ("/api/v1/images", "/upload")
# Larger than any of our forms, except an upload.
FORM_BYTES = 64 * 1024
# A form's fields, and the lines between the files of an upload.
_OVERHEAD = 1024**2
# This many of the largest uploads may be under way at once.
_UPLOADS_AT_ONCE = 2
_COPIES = 2


class Refused(Exception):  # noqa: N818 - an outcome, not an error
    """The body is not received. `code` is the HTTP status, the message a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        self.code, self.sentence = code, sentence
        super().__init__(sentence)


def is_upload(path: str) -> bool:
    """Return whether a request to this path may bring files."""
    return path.rstrip("/") in UPLOAD_PATHS


def largest_body(path: str, settings: Settings) -> int:
    """Return the most bytes that a request to this path may have."""
    if is_upload(path):
        return MAX_SIZE_FILES_PER_REQUEST * settings.max_bytes + _OVERHEAD
    return FORM_BYTES


class Spool:
    """Counts the bodies that are under way, for all connections of one server."""

    def __init__(self, settings: Settings, free_bytes: Callable[[], int]) -> None:
        """Keep `min_free_bytes` free; `free_bytes` returns what the fullest disk has left."""
        self.settings = settings
        self._free_bytes = free_bytes
        self._largest = _UPLOADS_AT_ONCE * largest_body(UPLOAD_PATHS[0], settings)
        self._lock = threading.Lock()
        self._expected = 0
        self._received = 0

    @property
    def received(self) -> int:
        """The bytes of all bodies that are under way."""
        return self._received

    def change(self, expected: int, received: int) -> None:
        """Note that so many more bytes are expected and received; numbers below 0 release them."""
        with self._lock:
            self._expected += expected
            self._received += received

    def check(self) -> None:
        """Raise Refused when too much is under way. Bytes that have arrived count as used by the disk already."""
        to_come = max(0, _COPIES * self._expected - self._received)
        if self._free_bytes() - to_come < self.settings.min_free_bytes:
            raise Refused(507, "The disk is nearly full. Nothing was accepted. Try again later.")
        if self._received > self._largest:
            raise Refused(503, "Too many uploads are under way. Nothing was accepted. Try again in a minute.")


class Body:
    """The body of one request, while it is under way."""

    def __init__(self, spool: Spool, path: str) -> None:
        """Expect nothing yet."""
        self._spool, self._path = spool, path
        self._expected = self._received = 0

    def expect(self, count: int) -> None:
        """Reserve the bytes that the request says will come. Raises Refused."""
        self._change(count, 0)

    def add(self, count: int) -> None:
        """Note that bytes arrived. Raises Refused."""
        self._change(max(0, self._received + count - self._expected), count)

    def close(self) -> None:
        """Note that the bytes are no longer needed."""
        self._spool.change(-self._expected, -self._received)
        self._expected = self._received = 0

    def _change(self, expected: int, received: int) -> None:
        self._expected += expected
        self._received += received
        self._spool.change(expected, received)
        if self._expected > largest_body(self._path, self._spool.settings):
            raise too_large(self._path, self._spool.settings)
        # People can still read and decide while the disk is full.
        if is_upload(self._path):
            self._spool.check()


def too_large(path: str, settings: Settings) -> Refused:
    """Return the refusal of a body that is too long."""
    limit = largest_body(path, settings)
    if limit == FORM_BYTES:
        return Refused(413, f"The request is too large: the limit is {FORM_BYTES // 1024} KB.")
    return Refused(
        413, f"The upload is too large: the limit is {limit / 1e6:,.0f} MB. Send fewer files at once."
    )
