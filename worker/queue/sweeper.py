"""The sweeper: publishes lost images again, ends expired leases, and quarantines images that keep failing."""

from __future__ import annotations

import structlog

from worker.config import Settings
from worker.errors import BrokerAway
from worker.ledger import leases
from worker.ledger.session import Ledger, ledger_time
from worker.outages import BROKER, OUTAGES
from worker.queue.dispatch import Dispatcher
from worker.store import Store

log = structlog.get_logger(__name__)


class Sweeper:
    """Makes the queue agree with the ledger."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, dispatcher: Dispatcher) -> None:
        """Keep the ledger, the store and the dispatcher; nothing is read yet."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._dispatcher = dispatcher

    def sweep(self) -> None:
        """Run once. Raises TransientFailure when the database or the image store is out of reach."""
        self._expire()
        self._requeue()

    def _expire(self) -> None:
        lease_s = self._settings.lease_s
        with self._ledger.reading() as session:
            if not leases.any_expired(session, lease_s=lease_s, at=ledger_time(session)):
                return
        with self._ledger.transaction() as session:
            count = leases.expire(
                session,
                lease_s=lease_s,
                max_attempts=self._settings.max_attempts,
                at=ledger_time(session),
            )
        log.warning("leases expired", images=count)

    def _requeue(self) -> None:
        """Publish images that are in no lane, and images whose lane is empty although they were published.

        If a lane is empty and an image that was published there some time ago is still pending, its message
        was lost with the broker or a worker. If it was not lost, only one worker gets the lease.
        """
        try:
            depths = self._dispatcher.depths()
        except BrokerAway as error:
            OUTAGES.failed(BROKER, error)
            return
        free_slots = max(self._settings.chunks_in_flight - depth for depth in depths.values())
        if free_slots <= 0:
            return
        empty = [lane for lane, depth in depths.items() if depth == 0]
        with self._ledger.reading() as session:
            images = leases.pending_images(
                session,
                lost_in=empty,
                requeue_after_s=self._settings.requeue_after_s,
                at=ledger_time(session),
                limit=free_slots * self._settings.chunk_size,
            )
        if images:
            self._store.check()
            self._dispatcher.publish_pending(images)
