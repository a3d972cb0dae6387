"""The long-running processes: watch and worker, and what every one of them does beside its work.

Each beats in the ledger, stops on SIGTERM, and outlives a database or a broker that is away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import structlog
from celery.platforms import SecurityWarning

from worker.config import Settings
from worker.errors import TransientFailure
from worker.inference.bundle import load_bundle
from worker.intake.accept import Acceptor
from worker.intake.watcher import FolderMonitor
from worker.ledger import heartbeats
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane
from worker.queue import embedded
from worker.queue.app import make_app
from worker.queue.dispatch import Dispatcher
from worker.queue.sweeper import Sweeper
from worker.queue.tasks import register
from worker.screening import choose_point
from worker.store import open_store

log = structlog.get_logger(__name__)

_ABANDONED_UPLOAD_S = 3600.0


def watch(settings: Settings) -> None:
    """Run the folder monitor and the sweeper until SIGTERM."""
    ledger = open_ledger(settings.database)
    dispatcher = Dispatcher(settings, ledger)
    monitor = FolderMonitor(settings, Acceptor(settings, ledger, open_store(settings)), dispatcher.publish)
    sweeper = Sweeper(settings, ledger, dispatcher)
    stop = _stop_on_signals()
    _forget_abandoned_uploads(settings)
    with (
        _beating(settings, ledger, "sweeper") as swept,
        _beating(settings, ledger, "watch") as scanned,
    ):
        sweeping = threading.Thread(
            target=_keep_on, args=(stop, settings.sweep_s, sweeper.sweep, swept), name="sweeper"
        )
        sweeping.start()
        _keep_on(stop, settings.scan_s, lambda: monitor.run(stop, scanned), scanned)
        sweeping.join()


def work(settings: Settings) -> int:
    """Run the Celery worker until SIGTERM; its exit status. Raises ModelUnusable before it starts."""
    bundle = load_bundle(settings.model, settings.runtime)
    choose_point(settings, bundle)
    ledger = open_ledger(settings.database)
    # Celery's warning about root is about pickled messages; only JSON is taken here.
    warnings.simplefilter("ignore", SecurityWarning)
    app = make_app(settings)
    register(app, settings)
    worker = app.Worker(
        concurrency=settings.workers,
        queues=[lane.value for lane in Lane],
        optimization="fair",
        loglevel=settings.log_level.upper(),
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    with _beating(settings, ledger, "worker", by_itself=True, turn=_kept_from_children(ledger)):
        log.info("worker starts", processes=settings.workers, model=f"{bundle.name}-{bundle.version}")
        worker.start()
    return int(worker.exitcode or 0)


def broker(settings: Settings) -> int:
    """Run the bundled broker until SIGTERM; 1 when it stops by itself."""
    return embedded.serve(settings, _stop_on_signals())


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _keep_on(
    stop: threading.Event, period_s: float, work_once: Callable[[], object], alive: Callable[[], object]
) -> None:
    """Repeat until told to stop. A transient failure waits for the next turn; a bug ends the process."""
    while not stop.is_set():
        try:
            work_once()
            alive()
        except TransientFailure as failure:
            log.warning("work waits", error=str(failure))
        except Exception:
            log.exception("stopped by a defect; the supervisor starts it again")
            stop.set()
            # The main thread may be waiting for this one: only the exit status tells of the defect.
            signal.raise_signal(signal.SIGTERM)
            sys.exit(1)
        stop.wait(period_s)


@contextmanager
def _beating(
    settings: Settings,
    ledger: Ledger,
    name: str,
    *,
    by_itself: bool = False,
    turn: AbstractContextManager[object] | None = None,
) -> Iterator[Callable[[], None]]:
    """Beat in the ledger while the block runs, and say farewell after it.

    The block calls what it is given after each piece of work, and only that makes the next
    beat go out: a thread that hangs falls silent. With `by_itself` the beat needs no work.
    The ledger is used only while `turn` is held.
    """
    turn = turn or nullcontext()
    worked = threading.Event()
    finished = threading.Event()

    def beat() -> None:
        while not finished.is_set():
            if worked.is_set() or by_itself:
                worked.clear()
                with turn, suppress(TransientFailure), ledger.transaction() as session:
                    heartbeats.beat(session, name, period_s=settings.heartbeat_s, at=utc_now())
            finished.wait(settings.heartbeat_s)

    worked.set()
    thread = threading.Thread(target=beat, name=f"{name}-heartbeat", daemon=True)
    thread.start()
    try:
        yield worked.set
    finally:
        finished.set()
        thread.join()
        with suppress(TransientFailure), ledger.transaction() as session:
            heartbeats.farewell(session, name)


def _kept_from_children(ledger: Ledger) -> AbstractContextManager[object]:
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


def _forget_abandoned_uploads(settings: Settings) -> None:
    """Remove uploads that broke off: their sender was never told that they had arrived."""
    if settings.incoming.is_dir():
        for path in settings.incoming.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_UPLOAD_S:
                    path.unlink()
