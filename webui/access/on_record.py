"""Puts on record who saw what, before the answer is sent.

What counts, and why nothing counts twice:

- The page of an image is a view. Its picture, which the page asks for next, belongs to that view.
- A picture without the page is a view of its own: once in ten minutes for each person and image.
- A picture that a browser fetches ahead is a prefetch, and a view when it is shown: with the page of its image. That
  page itself is never sent ahead, because a browser would show it later without asking.
- An image over the API is a view. A list of images is a search. Thumbnails belong to their list.
- A refused request is a refusal; equal ones of nobody in particular are counted and recorded once a minute.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from flask import request

from webui.access import identity
from webui.dependencies import dependencies
from webui.queue_view import QueueView
from worker.errors import TransientFailure
from worker.ledger import accesses
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.runs import run_at
from worker.ledger.session import ledger_time

ONE_VIEW = timedelta(minutes=10)
_REFUSALS_PERIOD_S = 60.0
_KEPT_KEYS = 1_000


def record(
    kind: AccessKind,
    code: str,
    *,
    image_id: int | None = None,
    run_id: int | None = None,
    reason: str | None = None,
) -> None:
    """Record an access of the current request. HEAD requests, which get no content, leave none.

    Raises TransientFailure if it cannot be recorded. Then nothing may be sent.
    """
    if request.method == "HEAD":
        return
    access = Access(kind, identity.current().actor, image_id, run_id, code, reason=reason)
    with dependencies().ledger.transaction() as session:
        accesses.record(session, access, ledger_time(session))


def record_picture(image_id: int, code: str) -> None:
    """Record that a picture of an image is sent, unless it belongs to a view that is on record."""
    kinds = [AccessKind.VIEW, AccessKind.PREFETCH] if is_prefetch() else [AccessKind.VIEW]
    actor = identity.current().actor
    with dependencies().ledger.reading() as session:
        since = ledger_time(session) - ONE_VIEW
        if any(accesses.has_seen(session, actor, image_id, kind, since) for kind in kinds):
            return
    record(kinds[-1], code, image_id=image_id)


def is_prefetch() -> bool:
    """Return whether a browser asks before anybody opens what it asks for.

    Either the browser says so (W3C Fetch, `Sec-Purpose`), or a page of ours, which cannot set that header for the picture
    that it keeps for the next image. An address that a person opens is no prefetch (W3C Fetch Metadata).
    """
    by_page = "ahead" in request.args and request.headers.get("Sec-Fetch-Dest") == "image"
    return by_page or "prefetch" in request.headers.get("Sec-Purpose", "")


def record_search(queue_view: QueueView) -> None:
    """Record that a page of the reading queue is sent."""
    run_id = None
    if queue_view.run is not None:
        with dependencies().ledger.reading() as session:
            run = run_at(session, queue_view.run)
            run_id = None if run is None else run.id
    record(AccessKind.SEARCH, queue_view.code, run_id=run_id)


def record_uploads(receipts: str) -> None:
    """Record that rows of uploads are sent: once in ten minutes, because the page of an upload asks again and again."""
    key = f"{identity.current().actor} {receipts}"
    if not _UPLOADS.count(key):
        return
    try:
        record(AccessKind.SEARCH, "uploads")
    except TransientFailure:
        _UPLOADS.forget(key)
        raise


def record_refusal(status: int) -> None:
    """Record that the current request was refused. Without the ledger, the refusal stands and is not on record."""
    code = f"{status}:{request.endpoint or ''}"
    try:
        # A key that opens nothing is nobody's.
        who = identity.current_if_known()
        total = 1 if who.is_signed_in else _REFUSALS.count(code)
        if not total:
            return
        with dependencies().ledger.transaction() as session:
            image_id = (request.view_args or {}).get("image_id")
            access = Access(AccessKind.REFUSAL, who.actor, image_id, code=code, total=total)
            accesses.record(session, access, ledger_time(session))
    except TransientFailure:
        return


class Seldom:
    """Decides which of many equal accesses become a row: one in a period. The next row stands for those between."""

    def __init__(self, period_s: float) -> None:
        """Begin without an access."""
        self._period_s = period_s
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._between: dict[str, int] = {}

    def count(self, key: str) -> int:
        """Count an access. Return the number that a new row stands for; 0 for no row."""
        with self._lock:
            now = time.monotonic()
            if key in self._last and now - self._last[key] < self._period_s:
                self._between[key] = self._between.get(key, 0) + 1
                return 0
            if len(self._last) >= _KEPT_KEYS:
                self._last.clear()
                self._between.clear()
            self._last[key] = now
            return self._between.pop(key, 0) + 1

    def forget(self, key: str) -> None:
        """Let the next access become a row."""
        with self._lock:
            self._last.pop(key, None)


_REFUSALS = Seldom(_REFUSALS_PERIOD_S)
_UPLOADS = Seldom(ONE_VIEW.total_seconds())
