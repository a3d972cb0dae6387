"""Makes the renditions of one stored file, and keeps them while the disk has space."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from worker.config import Settings
from worker.renditions.area import RenditionArea
from worker.renditions.bounded import Bounds, NoRendition, make_pack
from worker.renditions.pack import DamagedPack, Kind, Rendition, read_pack
from worker.store import Store

log = structlog.get_logger(__name__)


class Maker:
    """Makes renditions; several threads and processes may do so at the same time."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Make renditions of the files in `store`; nothing is opened yet."""
        self._store = store
        self._min_free_bytes = settings.min_free_bytes
        self.area = RenditionArea(store.root)
        self.bounds = Bounds(
            settings.rendition_memory_bytes, settings.rendition_s, settings.rendition_s, settings.max_pixels
        )

    def make(
        self,
        sha256: str,
        kind: Kind,
        *,
        wall_s: float,
        niceness: int = 0,
        stop: threading.Event | None = None,
    ) -> Rendition:
        """Make all renditions of a stored file and return one of them.

        Raises:
            NoRendition: the file cannot be shown.
            StoreAway: the image store is out of reach.
        """
        # Nothing may be written into the empty folder of a store that is not mounted.
        self._store.check()
        bounds = replace(self.bounds, wall_s=wall_s, niceness=niceness)
        unfinished = self.area.unfinished()
        try:
            return self._make(sha256, kind, unfinished, bounds, stop)
        except NoRendition as failure:
            if failure.lasting:
                self.area.note_failure(sha256, failure.sentence)
            log.info("an image cannot be shown", sha256=sha256, reason=failure.sentence)
            raise
        finally:
            with suppress(OSError):
                unfinished.unlink()

    def _make(
        self, sha256: str, kind: Kind, unfinished: Path, bounds: Bounds, stop: threading.Event | None
    ) -> Rendition:
        try:
            with self._store.path(sha256).open("rb") as source, unfinished.open("w+b") as target:
                make_pack(source, target, sha256, bounds, stop)
                rendition = read_pack(target, kind)
            if shutil.disk_usage(unfinished.parent).free >= self._min_free_bytes:
                self.area.keep(unfinished, sha256)
                self._remove_if_erased(sha256)
        except OSError as error:
            reason = "The image store cannot read this image, or the disk is full."
            raise NoRendition(reason, lasting=False) from error
        except DamagedPack as damage:
            raise NoRendition("The picture could not be prepared. Try again.", lasting=False) from damage
        return rendition

    def _remove_if_erased(self, sha256: str) -> None:
        """Remove a pack whose original was erased while the pack was made.

        An erasure removes the original first and the packs afterwards, so that either it or this method finds the pack.
        """
        if not self._store.has(sha256):
            self.area.remove(sha256)
