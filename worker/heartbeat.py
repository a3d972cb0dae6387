"""Signs of life: a thread of each long-running process beats in the ledger."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.orm import Session

from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import heartbeats
from worker.ledger.session import Ledger, ledger_time

log = structlog.get_logger(__name__)


class Heartbeat:
    """Beats while it is entered, and says farewell when it is left.

    With `needs_work` a beat goes out only if `worked` or `waits` was called since the last one: a
    thread that hangs falls silent. A database that is away is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        name: str,
        *,
        needs_work: bool = False,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        """Beat as the process `name` once entered; the ledger is used only while `lock` is held."""
        self._lock = lock or nullcontext()
        self._name = name
        self._period_s = settings.heartbeat_s
        self._ledger = ledger
        self._needs_work = needs_work
        self._worked = threading.Event()
        self._trouble: str | None = None
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Begin to beat, at once."""
        self._worked.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Beat no more, and say farewell."""
        self._finished.set()
        self._thread.join()
        self._write(lambda session: heartbeats.deregister(session, self._name))

    def worked(self) -> None:
        """Note that a piece of work was done."""
        self._trouble = None
        self._worked.set()

    def waits(self, why: str) -> None:
        """Note that work was tried and has to wait, and why."""
        self._trouble = why
        self._worked.set()

    def _run(self) -> None:
        while not self._finished.is_set():
            if self._worked.is_set() or not self._needs_work:
                self._worked.clear()
                self._write(self._beat)
            self._finished.wait(self._period_s)

    def _beat(self, session: Session) -> None:
        heartbeats.record_heartbeat(
            session, self._name, period_s=self._period_s, trouble=self._trouble, at=ledger_time(session)
        )

    def _write(self, action: Callable[[Session], None]) -> None:
        try:
            with self._lock, self._ledger.transaction(hint=True) as session:
                action(session)
        except TransientFailure as failure:
            log.warning("the sign of life waits", error=str(failure))


def fork_lock(ledger: Ledger) -> AbstractContextManager[object]:
    """A lock to hold while the ledger is used in a process that forks: no fork comes in between.

    SQLite keeps its locks in memory, which a fork copies: a child that is born in the middle of a
    transaction finds the database locked for ever (sqlite.org/howtocorrupt.html, section 2.6).
    """
    lock = threading.Lock()

    def before() -> None:
        lock.acquire()
        ledger.close()

    os.register_at_fork(before=before, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
