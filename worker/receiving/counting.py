"""Counts what the receiver does, by kind: without names of applications, addresses or UIDs."""

from __future__ import annotations

import threading
import time
from collections import Counter

import structlog

from worker.ledger import receiver_tallies
from worker.ledger.receiver_tallies import Kind
from worker.ledger.session import Ledger

log = structlog.get_logger(__name__)

_WARN_AGAIN_S = 60.0
_WHY = {
    Kind.ADDRESS: "its address is not in NIGHTREAD_DICOM_ADDRESSES",
    Kind.CALLED_TITLE: "it calls another AE title than NIGHTREAD_DICOM_AE_TITLE",
    Kind.CALLING_TITLE: "its AE title is not in NIGHTREAD_DICOM_CALLING",
    Kind.CROWDED: "too many associations are open, in all or from its address",
    Kind.TLS: "the TLS handshake failed",
    Kind.TOO_LONG: "it sent a longer PDU, command or object than is received",
    Kind.TOO_SLOW: "it took too long",
    Kind.MALFORMED: "it sent something that is not DICOM, or out of turn",
}


class Counts:
    """Counts of this process that are not in the ledger yet; all threads share one instance."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._lock = threading.Lock()
        self._counts: Counter[Kind] = Counter()
        self._warned_at: dict[Kind, float] = {}

    def add(self, kind: Kind, address: str = "") -> None:
        """Count one; warn of a connection that was turned away, once a minute for each kind."""
        now = time.monotonic()
        with self._lock:
            self._counts[kind] += 1
            recently = now - self._warned_at.get(kind, -_WARN_AGAIN_S) < _WARN_AGAIN_S
            if recently or kind not in _WHY:
                return
            self._warned_at[kind] = now
        log.warning("a DICOM connection was turned away", address=address, why=_WHY[kind])

    def write(self, ledger: Ledger) -> None:
        """Add the counts to the ledger. Raises TransientFailure; they are then written the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            with ledger.transaction(without_fsync=True) as session:
                receiver_tallies.add(session, counts)
        except BaseException:
            with self._lock:
                self._counts += counts
            raise
