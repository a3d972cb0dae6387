"""The content-addressed image store: a folder in which a file is named by its SHA-256.

What may be scored lies under `images`, what was turned away at the door under
`turned-away`; whoever asks for a hash gets the bytes from either.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from worker.config import Settings
from worker.errors import StoreAway

_HASH_LENGTH = 64


class Room(StrEnum):
    """The two halves of the store."""

    IMAGES = "images"
    TURNED_AWAY = "turned-away"


class Store:
    """A folder store. Files in it are complete, read-only by habit, and never renamed."""

    def __init__(self, root: Path) -> None:
        """Use the folder `root`; `make` makes it."""
        self.root = root

    def make(self) -> None:
        """Make the store's folders, for the first image ever. Raises OSError.

        Later they must be there: a share that is not mounted is an empty folder, and what was put
        into that would be hidden, and so lost, once the share is back.
        """
        for room in Room:
            (self.root / room).mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Raise StoreAway when the store as a whole is out of reach."""
        folder = self.root / Room.IMAGES
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except OSError as error:
            raise StoreAway(f"the image store is out of reach: {folder}: {error.strerror}") from error

    def put(self, source: Path, sha256: str, room: Room, *, link: bool = True) -> None:
        """Keep the bytes of `source` under their hash; the source stays where it is.

        Linked, so that nothing is copied; across devices, or when `link` is False because the
        source belongs to someone who may still change it, copied and then renamed into place.
        What lies there already is read: left by a file that changed under our hands, or by a bad
        disk, it may be other bytes, and is replaced. Durable only after `sync`. Raises OSError, and
        StoreAway when the store's own folders are gone.
        """
        target = self._place(sha256, room)
        if target.exists():
            if _sha256(target) != sha256:
                _copy(source, target)
            return
        try:
            for folder in (target.parent.parent, target.parent):
                folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise StoreAway(
                f"the image store is out of reach: {self.root / room}: {error.strerror}"
            ) from error
        if not (link and _linked(source, target)):
            _copy(source, target)

    def sync(self, sha256s: Iterable[str]) -> None:
        """Make the files and the folders' entries of these hashes survive a power cut."""
        folders: set[Path] = set()
        for sha256 in sha256s:
            path = self.path(sha256)
            folders.update(path.parents[: len(path.relative_to(self.root).parts)])
            _fsync(path)
        for folder in folders:
            _fsync(folder)

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash lie. Raises FileNotFoundError."""
        for room in Room:
            place = self._place(sha256, room)
            if place.exists():
                return place
        raise FileNotFoundError(errno.ENOENT, "the store has no such image", sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of this hash. Raises FileNotFoundError or another OSError."""
        return self.path(sha256).read_bytes()

    def hashes(self) -> Iterator[str]:
        """Every hash that the store holds, in no order."""
        for room in Room:
            for path in (self.root / room).glob("*/*/*"):
                if len(path.name) == _HASH_LENGTH:
                    yield path.name

    def _place(self, sha256: str, room: Room) -> Path:
        return self.root / room / sha256[:2] / sha256[2:4] / sha256


def open_store(settings: Settings) -> Store:
    """The store that the settings name."""
    return Store(settings.store_path)


def _linked(source: Path, target: Path) -> bool:
    """Link, or say that it cannot be done here (another device, a file system without links)."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return True
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}:
            return False
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        shutil.copyfile(source, unfinished, follow_symlinks=False)
        _fsync(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
