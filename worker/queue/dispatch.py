"""Publishes chunks of pending images to the lanes: only after the commit, and a limited number at once."""

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
from worker.outages import BROKER, OUTAGES
from worker.queue.app import RECHECK_TASK, SCREEN_TASK, SHADOW_TASK, make_app

log = structlog.get_logger(__name__)

# After the first failure a chunk is split into this many parts; after the second, each image is alone.
_SPLIT = 8


class Dispatcher:
    """Puts chunks of image ids into the lanes. Nothing is lost while the broker is out of reach."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Keep the settings and the ledger; nothing is connected yet."""
        self._settings = settings
        self._ledger = ledger
        self._app: Celery = make_app(settings)

    def publish(self, image_ids: Sequence[int], lane: Lane) -> bool:
        """Publish images that have just been committed. Return False when the broker is out of reach.

        Images that do not fit into the lane, or cannot be sent, stay pending until the sweeper publishes them.
        """
        return self.publish_pending([PendingImage(image_id, lane, 0) for image_id in image_ids]) is not None

    def publish_pending(self, images: Sequence[PendingImage]) -> int | None:
        """Publish pending images, chunk by chunk.

        Images are marked as queued first. Otherwise a fast worker would find their rows locked by that
        write, and skip them. The mark is removed from images that could not be sent.

        Returns:
            The number of published images; None when the broker is out of reach.
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
            OUTAGES.failed(BROKER, error)
            self._mark_queued(unsent, queued=False)
            return None
        return count

    def publish_recheck(self) -> bool:
        """Ask a scoring process to check older predictions. Return False when the broker is out of reach."""
        return self._ask(RECHECK_TASK)

    def publish_shadow(self) -> bool:
        """Ask a scoring process to score images with the candidate. Return False when the broker is out of reach."""
        return self._ask(SHADOW_TASK)

    def _ask(self, task: str) -> bool:
        try:
            with _broker_errors():
                self._app.send_task(task, queue=Lane.OVERNIGHT.value, retry=False)
        except BrokerAway as error:
            OUTAGES.failed(BROKER, error)
            return False
        return True

    def depths(self) -> dict[Lane, int]:
        """Return the number of chunks in each lane. Raises BrokerAway."""
        # The connection is reused: a new one costs as much as publishing a group of images.
        with _broker_errors(), self._app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            depths = {lane: int(client.llen(lane.value)) for lane in Lane}
        OUTAGES.worked(BROKER)
        return depths

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
        """Mark images as queued or not. A failure is ignored: the sweeper then publishes the images again."""
        image_ids = [image_id for _, chunk in chunks for image_id in chunk]
        if image_ids:
            with suppress(TransientFailure), self._ledger.transaction(without_fsync=True) as session:
                leases.mark_queued(session, image_ids, ledger_time(session) if queued else None)


@contextmanager
def _broker_errors() -> Iterator[None]:
    """Turn the exceptions of kombu and redis-py into BrokerAway."""
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerAway(str(error)) from error


def plan_chunks(images: Sequence[PendingImage], chunk_size: int) -> Iterator[tuple[Lane, list[int]]]:
    """Cut images into chunks of one lane and one number of attempts, the urgent lane first.

    An image that kills its worker makes its whole chunk fail. Chunks are smaller after each failure, so
    that in the end this image is alone and the others are scored. This function does no I/O.
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
