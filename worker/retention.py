"""Removes what has been kept for longer than the settings allow: once a day, a little in each round of the sweeper."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import retention
from worker.ledger.retention import Step
from worker.ledger.session import Ledger, ledger_time
from worker.renditions.area import RenditionArea
from worker.store import Store

_DAY_S = 86_400.0
# Rows that one transaction changes: the chain of the audit trail is locked meanwhile, so readers could wait for it.
_ROWS = 100
# Images whose files are removed in one transaction.
_IMAGES = 20
_RENDITIONS = 200


@dataclass(frozen=True)
class Limit:
    """For how many days something is kept, and how it is removed from the rows; no days: for ever."""

    name: str
    days: int
    steps: Sequence[Step] = ()

    def before(self, at: datetime) -> datetime:
        """Return the time before which it must be gone."""
        return at - timedelta(days=self.days)


class Retention:
    """The limits of the settings, and how far the present pass has come. A new process begins a pass."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Keep the settings, the ledger and the store; nothing is read yet."""
        self._ledger = ledger
        self._store = store
        self._area = RenditionArea(store.root)
        bytes_step = Step(retention.images_with_bytes, self._remove_bytes)
        self._limits = [
            Limit("bytes", settings.keep_bytes_days, (bytes_step,)),
            Limit("renditions", settings.keep_renditions_days),
            Limit("names", settings.keep_names_days, retention.NAMES),
            Limit("text", settings.keep_text_days, retention.TEXT),
            Limit("sessions", settings.keep_sessions_days, retention.SESSIONS),
        ]
        self._pass: Iterator[None] | None = None
        self._next_pass = time.monotonic()

    def run_some(self) -> bool:
        """Do the next part of the present pass, or begin one if a day is over. Return whether the pass goes on.

        Raises TransientFailure; the next call begins a new pass, which removes what this one has left.
        """
        if self._pass is None:
            if time.monotonic() < self._next_pass:
                return False
            self._pass = self._parts()
        try:
            next(self._pass)
        except StopIteration:
            self._pass = None
            self._next_pass = time.monotonic() + _DAY_S
            return False
        except TransientFailure:
            self._pass = None
            raise
        return True

    def run_all(self) -> dict[str, int]:
        """Do a whole pass now, and return what it removed, as `due` counts it. Raises TransientFailure."""
        before = self.due()
        for _ in self._parts():
            pass
        after = self.due()
        return {name: count - after[name] for name, count in before.items()}

    def due(self) -> dict[str, int]:
        """Return how many rows, or renditions of images, are older than their limit, by the limit's name."""
        with self._ledger.reading() as session:
            at = ledger_time(session)
            counts = {
                limit.name: sum(
                    sum(1 for _ in retention.all_ids(session, step, limit.before(at))) for step in limit.steps
                )
                for limit in self._limits
                if limit.days
            }
        for limit in self._limits:
            if limit.name == "renditions" and limit.days:
                counts[limit.name] = sum(1 for _ in self._old_renditions(limit.before(at)))
        return counts

    def waiting(self) -> int:
        """Return the number of images that are older than a limit and keep everything, because they wait."""
        days = [
            limit.days for limit in self._limits if limit.days and limit.name in {"bytes", "names", "text"}
        ]
        if not days:
            return 0
        with self._ledger.reading() as session:
            return retention.kept_while_waiting(session, ledger_time(session) - timedelta(days=min(days)))

    @property
    def days(self) -> dict[str, int]:
        """The days of each limit by its name; 0: for ever."""
        return {limit.name: limit.days for limit in self._limits}

    def _parts(self) -> Iterator[None]:
        for limit in self._limits:
            if limit.days:
                for step in limit.steps:
                    yield from self._rows(limit, step)
                if limit.name == "renditions":
                    yield from self._renditions(limit)
        self._ledger.forget()

    def _rows(self, limit: Limit, step: Step) -> Iterator[None]:
        last = 0
        size = _IMAGES if limit.name == "bytes" else _ROWS
        while True:
            with self._ledger.transaction() as session:
                at = ledger_time(session)
                last = retention.remove(session, step, limit.before(at), after=last, limit=size, at=at)
            if not last:
                return
            yield

    def _remove_bytes(self, session: Session, image_ids: Sequence[int], at: datetime) -> None:
        """Remove the files before the commit: if it fails, the next pass finds the same images again."""
        for image_id, sha256 in retention.hashes(session, image_ids).items():
            try:
                self._store.remove(sha256)
                self._area.remove(sha256)
            except OSError as error:
                raise TransientFailure(
                    f"the image store cannot delete the bytes of image {image_id}: {error.strerror}"
                ) from error
        retention.bytes_removed(session, image_ids, at)

    def _renditions(self, limit: Limit) -> Iterator[None]:
        with self._ledger.reading() as session:
            before = limit.before(ledger_time(session))
        old = self._old_renditions(before)
        while group := list(islice(old, _RENDITIONS)):
            removed = sum(map(_remove, group))
            with self._ledger.transaction() as session:
                retention.record_renditions(session, removed, ledger_time(session))
            yield

    def _old_renditions(self, before: datetime) -> Iterator[Path]:
        """Yield the packs and notes that were made before a time."""
        for path in self._area.root.parent.glob("*/??/*"):
            with suppress(OSError):
                if path.stat().st_mtime < before.timestamp():
                    yield path


def _remove(path: Path) -> bool:
    """Delete a file, and return whether it was there. A rendition that cannot be deleted stays for the next pass."""
    try:
        path.unlink()
    except OSError:
        return False
    return True
