"""From pending images to chunks in a lane: only after the commit, and never too many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from worker.config import Settings
from worker.errors import BrokerAway, TransientFailure
from worker.ledger import leases
from worker.ledger.leases import PendingImage
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.states import Lane
from worker.queue.app import SCREEN_TASK, make_app

log = structlog.get_logger(__name__)

# After a first failure a chunk is split in so many parts; after a second, images go alone.
_SPLIT = 8


class Dispatcher:
    """Puts chunks of image ids into the lanes. The broker may be away: nothing is lost by that."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Publish for these settings; nothing is connected yet."""
        self._settings = settings
        self._ledger = ledger
        self._app: Celery = make_app(settings)

    def publish(self, image_ids: Sequence[int], lane: Lane) -> bool:
        """Queue images that have just been committed; False when the broker is out of reach.

        Those for which there is no room, or no broker, stay pending until the sweeper's turn.
        """
        return self.publish_waiting([PendingImage(image_id, lane, 0) for image_id in image_ids]) is not None

    def publish_waiting(self, images: Sequence[PendingImage]) -> int | None:
        """Queue pending images, chunk by chunk; how many, None when the broker is out of reach.

        They are noted as queued first: a worker that is quick would find their rows locked by
        the note and leave them alone. What could not be sent has its note taken back.
        """
        unsent: list[tuple[Lane, list[int]]] = []
        try:
            unsent = self._chunks_that_fit(images)
            count = sum(len(chunk) for _, chunk in unsent)
            self._mark_queued(unsent, queued=True)
            while unsent:
                self._send(*unsent[0])
                del unsent[0]
        except BrokerAway as error:
            log.warning("the broker is out of reach; images stay pending", error=str(error))
            self._mark_queued(unsent, queued=False)
            return None
        return count

    def depths(self) -> dict[Lane, int]:
        """How many chunks wait in each lane. Raises BrokerAway."""
        # A connection that is kept: making one costs as much as publishing the group that asks.
        with _broker_errors(), self._app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            return {lane: int(client.llen(lane.value)) for lane in Lane}

    def _send(self, lane: Lane, chunk: list[int]) -> None:
        with _broker_errors():
            self._app.send_task(SCREEN_TASK, args=[chunk], queue=lane.value, retry=False)

    def _chunks_that_fit(self, images: Sequence[PendingImage]) -> list[tuple[Lane, list[int]]]:
        free_slots = {lane: self._settings.chunks_in_flight - depth for lane, depth in self.depths().items()}
        fitting = []
        for lane, chunk in plan_chunks(images, self._settings.chunk_size):
            free_slots[lane] -= 1
            if free_slots[lane] >= 0:
                fitting.append((lane, chunk))
        return fitting

    def _mark_queued(self, chunks: Sequence[tuple[Lane, list[int]]], *, queued: bool) -> None:
        """Only a hint: without it the sweeper queues them again, and the lease sorts that out."""
        image_ids = [image_id for _, chunk in chunks for image_id in chunk]
        if image_ids:
            with suppress(TransientFailure), self._ledger.transaction(hint=True) as session:
                leases.mark_queued(session, image_ids, ledger_time(session) if queued else None)


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Raise BrokerAway for what the libraries raise when the broker does not answer, or refuses."""
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerAway(str(error)) from error


def plan_chunks(images: Sequence[PendingImage], chunk_size: int) -> Iterator[tuple[Lane, list[int]]]:
    """Cut images into chunks of one lane and one number of attempts, the urgent lane first.

    An image that kills its worker takes its whole chunk along; smaller chunks after each
    failure find it: it ends alone, and the others are scored. Pure.
    """

    def lane_and_attempts(image: PendingImage) -> tuple[bool, int]:
        return image.lane is not Lane.URGENT, image.attempts

    for (not_urgent, attempts), group in groupby(
        sorted(images, key=lane_and_attempts), key=lane_and_attempts
    ):
        size = chunk_size if attempts == 0 else max(1, chunk_size // _SPLIT) if attempts == 1 else 1
        ids = [image.id for image in group]
        for start in range(0, len(ids), size):
            yield Lane.OVERNIGHT if not_urgent else Lane.URGENT, ids[start : start + size]
