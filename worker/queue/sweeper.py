"""Re-queues what was lost, gives back what nobody works on any more, quarantines what keeps failing."""

from __future__ import annotations

import structlog

from worker.config import Settings
from worker.errors import BrokerAway
from worker.ledger import leases
from worker.ledger.session import Ledger, ledger_time
from worker.queue.dispatch import Dispatcher
from worker.store import Store

log = structlog.get_logger(__name__)


class Sweeper:
    """Goes round the ledger and makes the queue agree with it."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, dispatcher: Dispatcher) -> None:
        """Sweep this ledger into this dispatcher's lanes, as long as the store can give the images."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._dispatcher = dispatcher

    def sweep(self) -> None:
        """One round. Raises TransientFailure when the database, or the store that is needed, is away."""
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
        log.warning("leases ran out", images=count)

    def _requeue(self) -> None:
        """Queue what stands in no lane; and what stood in one, once that lane is seen empty.

        An empty lane and an image that is still pending a while after it was queued there mean that
        the message is gone, with the broker or with a worker. If it was not, the lease sorts it out.
        """
        try:
            depths = self._dispatcher.depths()
        except BrokerAway as error:
            log.warning("the broker is out of reach; the sweeper waits", error=str(error))
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
            self._dispatcher.publish_waiting(images)
