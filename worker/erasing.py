"""Erases images: first what the ledger says of them, in one transaction, then their bytes and renditions.

From the commit on, no page shows anything of the image. If the process dies after it, the image store still has the
bytes; the sweeper, `nightread db check --repair` or the same command again removes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from worker.errors import TransientFailure
from worker.ledger import erasures
from worker.ledger.session import Ledger, ledger_time
from worker.renditions.area import RenditionArea
from worker.store import Store

log = structlog.get_logger(__name__)

# Images whose bytes are removed between two commits.
_AT_ONCE = 100


class Eraser:
    """Erases images of one ledger and its image store. Several processes may do so at the same time."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        """Keep the ledger and the store; nothing is opened yet."""
        self._ledger = ledger
        self._store = store
        self._area = RenditionArea(store.root)

    def erase(
        self, image_ids: Sequence[int], *, who: str, why: str, all_run_names: bool = False
    ) -> list[int]:
        """Erase images, and return those that were not erased before. Arguments as in `worker.ledger.erasures.erase`.

        Raises:
            LookupError: there is no image of one of these ids. Nothing was changed.
            ValueError: `why` is empty. Nothing was changed.
            TransientFailure: the database failed, and nothing was changed; or the image store failed, and the
                images are erased but for their bytes, which the sweeper will remove.
        """
        with self._ledger.transaction() as session:
            new = erasures.erase(
                session, image_ids, who=who, why=why, all_run_names=all_run_names, at=ledger_time(session)
            )
        log.info("erased images", images=new)
        while self.finish():
            pass
        return new

    def finish(self) -> int:
        """Remove the bytes of some images whose erasure is not finished, and return their number.

        Raises TransientFailure: the database or the image store failed.
        """
        with self._ledger.reading() as session:
            images = erasures.unfinished(session, _AT_ONCE)
        for image_id, sha256 in images.items():
            self._remove(image_id, sha256)
        if images:
            with self._ledger.transaction() as session:
                erasures.finish(session, images, self._is_gone, ledger_time(session))
            self._ledger.forget()
        return len(images)

    def left(self) -> list[int]:
        """Return the erased images of which the image store still holds something, or may hold it."""
        with self._ledger.reading() as session:
            waiting = erasures.unfinished(session, erasures.IDS_PER_STATEMENT)
            erased = erasures.erased_images(session)
        return [i for i, sha256 in erased.items() if i in waiting or not self._is_gone(sha256)]

    def remove_left(self) -> int:
        """Remove what the image store still holds of erased images, and return their number. Raises TransientFailure."""
        with self._ledger.reading() as session:
            erased = erasures.erased_images(session)
        left = self.left()
        for image_id in left:
            self._remove(image_id, erased[image_id])
        while self.finish():
            pass
        return len(left)

    def _is_gone(self, sha256: str) -> bool:
        return not self._store.has(sha256) and not self._area.holds(sha256)

    def _remove(self, image_id: int, sha256: str) -> None:
        """Remove the original first: see `Maker._remove_if_erased`."""
        try:
            self._store.remove(sha256)
            self._area.remove(sha256)
        except OSError as error:
            raise TransientFailure(
                f"image {image_id} is erased, but the image store cannot delete its bytes: {error.strerror}"
            ) from error
