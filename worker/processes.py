"""The long-running processes of one machine: watch and worker.

Each process stops on SIGTERM. Watch and worker send heartbeats to the ledger, and keep running while the
database or the broker is out of reach.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import nullcontext, suppress

import structlog
from celery.platforms import SecurityWarning

from worker.access_chain import chain_accesses
from worker.catalogue import BundleReport, active_sha256, open_active, open_bundle
from worker.checkpoint_sender import CheckpointSender
from worker.checkpoints import Checkpoints
from worker.config import Settings
from worker.errors import ModelUnusable, TransientFailure
from worker.heartbeat import Heartbeat, fork_lock
from worker.inference.bundle import Bundle
from worker.intake.accept import Acceptor
from worker.intake.canary import Canary
from worker.intake.lost_ledger import LostLedger
from worker.intake.reconcile import abandoned_uploads
from worker.intake.site_key import SiteKeys
from worker.intake.watcher import FolderMonitor
from worker.ledger.heartbeats import deregister_scoring
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import Lane
from worker.queue.app import make_app
from worker.queue.dispatch import Dispatcher
from worker.queue.sweeper import Sweeper
from worker.queue.tasks import register
from worker.renditions.ahead import AheadOfReading
from worker.repetition import Schedule, run_repeatedly
from worker.stopping import stop_on_signals, stopping_on_signals
from worker.store import open_store

log = structlog.get_logger(__name__)

_NEVER_S = float("inf")


def watch(settings: Settings) -> int:
    """Run the folder monitor and the sweeper until SIGTERM. Return 1 when a defect stopped them, else 0."""
    ledger = open_ledger(settings.database)
    dispatcher = Dispatcher(settings, ledger)
    store = open_store(settings)
    acceptor = Acceptor(settings, ledger, store)
    monitor = FolderMonitor(settings, acceptor, dispatcher.publish)
    canary = Canary(settings, ledger, acceptor, dispatcher.publish)
    sweeper = Sweeper(settings, ledger, store, dispatcher)
    checkpoints = Checkpoints(settings.checkpoints_path, settings.checkpoint_key_path)
    lost_ledger = LostLedger(ledger, store)
    site_key = SiteKeys(settings, ledger)
    sender = CheckpointSender(settings.checkpoint_command, settings.checkpoints_path)

    def take_checkpoint() -> None:
        if settings.checkpoint_s and checkpoints.take(ledger):
            sender.request()

    schedule = Schedule(
        (lambda: chain_accesses(ledger), sweeper.sweep, canary.send_if_due),
        take_checkpoint,
        settings.checkpoint_s or _NEVER_S,
    )

    def sweep() -> None:
        schedule.run()
        sweeper.clean()
        # These only tell of a problem, after the work was done.
        lost_ledger.check()
        site_key.check()
        sender.poll()

    ahead = AheadOfReading(settings, ledger, store)
    stop = stop_on_signals()
    _remove_abandoned_uploads(settings)
    with (
        Heartbeat(settings, ledger, "sweeper", needs_work=True) as sweeper_heartbeat,
        Heartbeat(settings, ledger, "watch", needs_work=True) as watch_heartbeat,
    ):
        defects: list[Exception] = []
        sweeping = threading.Thread(
            target=run_repeatedly,
            args=(stop, settings.sweep_s, sweep, sweeper_heartbeat, defects),
            name="sweeper",
        )
        # Without a heartbeat: a page that finds no rendition has it made.
        drawing = threading.Thread(
            target=run_repeatedly,
            args=(stop, settings.sweep_s, lambda: ahead.run(stop), None, defects),
            name="renditions",
        )
        sweeping.start()
        drawing.start()
        run_repeatedly(
            stop,
            settings.scan_s,
            lambda: monitor.run(
                stop, watch_heartbeat.goes_on, lambda: _report(watch_heartbeat, monitor.problem())
            ),
            watch_heartbeat,
            defects,
        )
        sweeping.join()
        drawing.join()
    return 1 if defects else 0


def work(settings: Settings) -> int:
    """Run the Celery worker until SIGTERM and return its exit status.

    While this machine cannot use the model that the site has made active, take no work and say so. Raises ModelUnusable
    before it starts if the site has chosen none, and the bundle of NIGHTREAD_MODEL cannot be used.
    """
    ledger = open_ledger(settings.database)
    with suppress(TransientFailure), ledger.transaction(without_fsync=True) as session:
        deregister_scoring(session)
    bundle = _wait_for_model(settings, ledger)
    if bundle is None:
        return 0
    if not bundle.verified:
        log.warning("the model is not verified: it is none that Nightread ships", model=bundle.sha256)
    # Celery warns that a worker must not run as root, because of pickled messages. Only JSON is accepted here.
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
        # Celery's heartbeat goes to the broker, and blocks the worker while the broker does not answer.
        without_heartbeat=True,
        quiet=True,
    )
    lock, stop = fork_lock(ledger), threading.Event()
    report = BundleReport(settings, ledger, lock)
    reporting = threading.Thread(
        target=run_repeatedly,
        args=(stop, settings.heartbeat_s, report.run, None, []),
        name="bundles",
        daemon=True,
    )
    with Heartbeat(settings, ledger, "worker", lock=lock):
        log.info("the worker starts", processes=settings.workers, model=f"{bundle.name}-{bundle.version}")
        reporting.start()
        worker.start()
        stop.set()
        reporting.join()
    return int(worker.exitcode or 0)


def _wait_for_model(settings: Settings, ledger: Ledger) -> Bundle | None:
    """Return the bundle that scores, once this machine can use it; None if the worker is stopped while it waits.

    Raises ModelUnusable if the site has chosen no model and the bundle of NIGHTREAD_MODEL cannot be used.
    """
    with suppress(TransientFailure):
        try:
            return open_active(settings, ledger)
        except ModelUnusable as unusable:
            if active_sha256(ledger) is None:
                raise
            log.warning("the worker takes no work until it can use the active model", error=str(unusable))
            return _waited(settings, ledger)
    # The database is away. The scoring processes find out which model is active when it is back.
    return open_bundle(settings, None)


def _waited(settings: Settings, ledger: Ledger) -> Bundle | None:
    with stopping_on_signals() as stop:
        bundle = _polled(settings, ledger, stop)
    # Only Celery reads signals from now on: one that came before would be lost.
    return None if stop.is_set() else bundle


def _polled(settings: Settings, ledger: Ledger, stop: threading.Event) -> Bundle | None:
    """Look for the active model until it can be used; None once `stop` is set."""
    report = BundleReport(settings, ledger, nullcontext())
    with Heartbeat(settings, ledger, "worker") as heartbeat:
        while not stop.is_set():
            with suppress(TransientFailure):
                try:
                    return open_active(settings, ledger)
                except ModelUnusable as unusable:
                    heartbeat.waits(str(unusable).rstrip("."))
                report.run()
            stop.wait(settings.heartbeat_s)
    return None


def _report(heartbeat: Heartbeat, problem: str | None) -> None:
    if problem is None:
        heartbeat.worked()
    else:
        heartbeat.waits(problem)


def _remove_abandoned_uploads(settings: Settings) -> None:
    for path in abandoned_uploads(settings):
        path.unlink(missing_ok=True)
