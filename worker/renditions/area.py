"""The area of the image store that holds packs and notes of failures, each named by the SHA-256 of its original.

Everything here can be made again, so it may be deleted at any time. Backups and orphan checks leave it out.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from worker.renditions.pack import PACK_VERSION, DamagedPack, Kind, Rendition, read_pack

log = structlog.get_logger(__name__)

FOLDER = "renditions"
# After this time a file that could not be shown is tried again: a setting or a library may have changed.
_FAILURE_HOLDS_S = 3600.0
# An unfinished file that has not changed for this long has lost its process.
_ABANDONED_S = 3600.0
_LONGEST_SENTENCE = 500


class RenditionArea:
    """The renditions in one image store."""

    def __init__(self, store_root: Path) -> None:
        """Use the area of the store at `store_root`; its folders are created with the first pack."""
        self.root = store_root / FOLDER / PACK_VERSION

    def has(self, sha256: str) -> bool:
        """Return whether there is a pack or a recent failure: nothing is left to do."""
        return self._path(sha256, "zip").exists() or self.failure(sha256) is not None

    def find(self, sha256: str, kind: Kind) -> Rendition | None:
        """Return a rendition, after its hash was checked; None if it has to be made. A damaged pack is deleted."""
        path = self._path(sha256, "zip")
        try:
            with path.open("rb") as file:
                return read_pack(file, kind)
        except OSError:
            return None
        except DamagedPack as damage:
            log.warning("damaged renditions are made again", sha256=sha256, error=str(damage))
            with suppress(OSError):
                path.unlink()
            return None

    def failure(self, sha256: str) -> str | None:
        """Return the sentence of a recent failure."""
        path = self._path(sha256, "failed")
        try:
            recent = time.time() - path.stat().st_mtime < _FAILURE_HOLDS_S
            return path.read_text("utf-8")[:_LONGEST_SENTENCE] if recent else None
        except (OSError, UnicodeError):
            return None

    def unfinished(self) -> Path:
        """Return a path for a pack that is being made: here, or in the temporary folder if this area is read-only."""
        name = f"{uuid.uuid4().hex}.part"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch(0o600, exist_ok=False)
        except OSError:
            return Path(tempfile.gettempdir()) / name
        return self.root / name

    def keep(self, unfinished: Path, sha256: str) -> None:
        """Move a finished pack to its place; leave it if the area cannot be written."""
        target = self._path(sha256, "zip")
        with suppress(OSError):
            target.parent.mkdir(exist_ok=True)
            unfinished.replace(target)

    def note_failure(self, sha256: str, sentence: str) -> None:
        """Keep the sentence of a failure, if the area can be written."""
        target = self._path(sha256, "failed")
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(sentence, "utf-8")

    def holds(self, sha256: str) -> bool:
        """Return whether there is a pack or a note of an image, of any version."""
        return next(self._all_of(sha256), None) is not None

    def remove(self, sha256: str) -> None:
        """Delete the packs and notes of an image, of every version. Raises OSError."""
        for path in list(self._all_of(sha256)):
            path.unlink(missing_ok=True)

    def remove_abandoned(self) -> None:
        """Delete unfinished files whose process has died."""
        for path in self.root.glob("*.part"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def _all_of(self, sha256: str) -> Iterator[Path]:
        for version in self.root.parent.glob("*"):
            for ending in ("zip", "failed"):
                path = version / sha256[:2] / f"{sha256}.{ending}"
                if path.exists():
                    yield path

    def _path(self, sha256: str, ending: str) -> Path:
        return self.root / sha256[:2] / f"{sha256}.{ending}"
