"""Notices a start with an empty ledger over an image store that holds images: the database may have been lost."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from worker.errors import TransientFailure
from worker.ledger import receipts
from worker.ledger.session import Ledger
from worker.ledger.tables import Image
from worker.store import Store

_SENTENCE = (
    "the image store holds images, but the ledger was empty at the start. If the database was lost, stop Nightread "
    "and restore it. If not, run `nightread db check --repair`, which accepts the stored files again"
)


class LostLedger:
    """Remembers one stored image that an empty ledger does not know."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        """Look at the ledger and the store, at the start of a process. Raises TransientFailure."""
        self._ledger = ledger
        self._unknown: str | None = None
        with ledger.reading() as session:
            is_empty = not receipts.any_image(session)
        if is_empty:
            with suppress(OSError):
                self._unknown = next(iter(store.hashes()), None)

    def check(self) -> None:
        """Raise TransientFailure, which people read as a problem, until the ledger knows the image."""
        if self._unknown is None:
            return
        with self._ledger.reading() as session:
            known = session.scalar(select(Image.id).where(Image.sha256 == self._unknown))
        if known is None:
            raise TransientFailure(_SENTENCE)
        self._unknown = None
