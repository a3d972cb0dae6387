"""The sweeper: publishes lost images again, ends expired leases, and quarantines images that keep failing.

It also removes what is left of erased images and what is older than the settings allow, and keeps the counts of the
monitor. While nothing waits, it asks the scoring processes to check older predictions, and then to score images with the
candidate.
"""

from __future__ import annotations

import structlog

from worker.config import Settings
from worker.erasing import Eraser
from worker.errors import BrokerAway
from worker.inference.preprocess import versions_without_film
from worker.ledger import leases, rechecks, shadows
from worker.ledger.models import active_model
from worker.ledger.rechecks import Target
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.states import Lane
from worker.monitoring import Monitoring
from worker.outages import BROKER, OUTAGES
from worker.queue.dispatch import Dispatcher
from worker.retention import Retention
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
        self._eraser = Eraser(ledger, store)
        self._retention = Retention(settings, ledger, store)
        self._monitoring = Monitoring(ledger)

    def sweep(self) -> None:
        """Run once. Raises TransientFailure when the database or the image store is out of reach."""
        self._expire()
        if self._requeue() and not self._recheck():
            self._shadow()

    def clean(self) -> None:
        """Remove the bytes of erased images that are still there, and some of what is older than the settings allow.

        Then count some days for the monitor. To be called after all other work: a file that cannot be deleted must not keep images waiting.

        Raises TransientFailure: the database or the image store failed.
        """
        self._eraser.finish()
        self._retention.run_some()
        self._monitoring.run_some()

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

    def _requeue(self) -> bool:
        """Publish images that are in no lane, and images whose lane is empty although they were published.

        Return whether both lanes are empty and nothing was published.

        If a lane is empty and an image that was published there some time ago is still pending, its message
        was lost with the broker or a worker. If it was not lost, only one worker gets the lease.
        """
        try:
            depths = self._dispatcher.depths()
        except BrokerAway as error:
            OUTAGES.failed(BROKER, error)
            return False
        free_slots = max(self._settings.chunks_in_flight - depth for depth in depths.values())
        if free_slots <= 0:
            return False
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
        return not images and len(empty) == len(Lane)

    def _recheck(self) -> bool:
        """Ask for a check of older predictions if one is due. If the message is lost, the next round asks again.

        Return whether anything else has to wait.
        """
        with self._ledger.reading() as session:
            model = None if leases.any_unfinished(session) else active_model(session)
            if model is None:
                return True
            preprocessing = rechecks.preprocessing_of(model.card)
            target = Target(model.id, preprocessing, versions_without_film(preprocessing))
            due = rechecks.is_due(session, target, lease_s=self._settings.lease_s, at=ledger_time(session))
        if due:
            self._dispatcher.publish_recheck()
        return due

    def _shadow(self) -> None:
        """Ask for images to be scored with the candidate if some are left. A lost message does no harm, either."""
        with self._ledger.reading() as session:
            due = shadows.is_due(session, lease_s=self._settings.lease_s, at=ledger_time(session))
        if due:
            self._dispatcher.publish_shadow()
