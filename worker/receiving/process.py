"""`nightread receive`: the receiver as a process, until SIGTERM."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import suppress

import structlog

from worker.config import Settings
from worker.defects import log_defect
from worker.errors import TransientFailure, WrongSettings
from worker.heartbeat import Heartbeat
from worker.intake.accept import Acceptor
from worker.ledger.schema import open_ledger
from worker.queue.dispatch import Dispatcher
from worker.queue.memory_limit import limit_memory
from worker.receiving.counting import Counts
from worker.receiving.server import Receiver
from worker.receiving.storing import Storing
from worker.repetition import run_repeatedly
from worker.stopping import stop_on_signals
from worker.store import open_store

log = structlog.get_logger(__name__)

PROCESS = "receive"
_ROUND_S = 0.5
# Of the process, and of each association: three threads, and what they hold of a PDU and of a file.
_MEMORY = 512 * 1024**2
_MEMORY_OF_ASSOCIATION = 24 * 1024**2
_STACK = 2 * 1024**2


def receive(settings: Settings) -> int:
    """Receive objects until SIGTERM. Return 1 when a defect stopped the receiver, else 0.

    Raises:
        WrongSettings: the address or the TLS files cannot be used.
        SchemaOutdated, TransientFailure: the database cannot be used.
    """
    _keep_quiet()
    threading.stack_size(_STACK)
    limit_memory(_MEMORY + settings.dicom_associations * _MEMORY_OF_ASSOCIATION)
    ledger = open_ledger(settings.database)
    settings.incoming.mkdir(parents=True, exist_ok=True)
    acceptor = Acceptor(settings, ledger, open_store(settings))
    counts = Counts()
    storing = Storing(settings, acceptor, Dispatcher(settings, ledger).publish, counts)
    receiver = _listening(settings, storing, counts)
    stop = stop_on_signals()
    serving = threading.Thread(target=receiver.serve_forever, name="receiver", daemon=True)
    defects: list[Exception] = []

    def look_after() -> None:
        storing.publish_new()
        counts.write(ledger)
        if not serving.is_alive():
            raise RuntimeError("the receiver accepts no connections any more")
        # A sender gets the same answer. Here it becomes the trouble of this process.
        acceptor.check_free_space()

    with Heartbeat(settings, ledger, PROCESS, needs_work=True) as heartbeat:
        serving.start()
        log.info("the receiver listens", host=settings.dicom_host, port=settings.dicom_port)
        run_repeatedly(stop, _ROUND_S, look_after, heartbeat, defects)
        receiver.close()
        with suppress(TransientFailure):
            # The sweeper publishes what is left.
            storing.publish_new()
            counts.write(ledger)
    return 1 if defects else 0


def _keep_quiet() -> None:
    """Keep what peers send out of the log: the libraries' messages, their warnings and their errors quote it."""
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")
    threading.excepthook = _log_thread_error


def _log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    """Log that a thread ended with an error, instead of printing it.

    A peer can bring pynetdicom to raise an error of its own, as often as it likes: such a thread just ends.
    """
    if arguments.exc_value is not None and not arguments.exc_type.__module__.startswith("pynetdicom."):
        log_defect("a thread of the receiver ended", arguments.exc_value)


def _listening(settings: Settings, storing: Storing, counts: Counts) -> Receiver:
    try:
        return Receiver(settings, storing, counts)
    except OSError as error:
        raise WrongSettings(
            f"NIGHTREAD_DICOM_PORT, NIGHTREAD_DICOM_HOST: port {settings.dicom_port} of {settings.dicom_host} cannot be "
            f"used ({error.strerror})."
        ) from None
