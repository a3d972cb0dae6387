"""Heartbeats: a thread of each long-running process records every few seconds that the process works."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import heartbeats
from worker.ledger.session import Ledger, ledger_time
from worker.outages import DATABASE, OUTAGES


class Heartbeat:
    """Sends heartbeats inside its context, and deregisters the process on exit.

    With `needs_work` a heartbeat is sent only if `worked`, `waits` or `goes_on` was called since the last one, so
    that a thread that hangs sends none. While the database is out of reach, heartbeats are skipped.
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
        """Send heartbeats for the process `name`; use the ledger only while `lock` is held."""
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
        """Send the first heartbeat, and start the thread."""
        self._worked.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread and deregister the process."""
        self._finished.set()
        self._thread.join()
        self._write(lambda session: heartbeats.deregister(session, self._name))

    def worked(self) -> None:
        """Note that a piece of work was done."""
        self._trouble = None
        self._worked.set()

    def waits(self, reason: str) -> None:
        """Note that work was tried and has to wait; `reason` is shown as a problem of the process."""
        self._trouble = reason
        self._worked.set()

    def goes_on(self) -> None:
        """Note that a long piece of work goes on. What the process waits for stays as it was."""
        self._worked.set()

    def _run(self) -> None:
        while not self._finished.is_set():
            if self._worked.is_set() or not self._needs_work:
                self._worked.clear()
                self._write(self._record)
            self._finished.wait(self._period_s)

    def _record(self, session: Session) -> None:
        heartbeats.record_heartbeat(
            session, self._name, period_s=self._period_s, trouble=self._trouble, at=ledger_time(session)
        )

    def _write(self, action: Callable[[Session], None]) -> None:
        try:
            with self._lock, self._ledger.transaction(without_fsync=True) as session:
                action(session)
        except TransientFailure as failure:
            OUTAGES.failed(DATABASE, failure)
        else:
            OUTAGES.worked(DATABASE)


def fork_lock(ledger: Ledger) -> AbstractContextManager[object]:
    """Return a lock for a process that forks: while it is held, no fork happens.

    SQLite keeps its locks in memory, and a fork copies them. A child that is forked during a transaction
    finds the database locked forever (sqlite.org/howtocorrupt.html, section 2.6).
    """
    lock = threading.Lock()

    def before() -> None:
        lock.acquire()
        ledger.close()

    os.register_at_fork(before=before, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
