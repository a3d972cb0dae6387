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
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

from worker.config import Settings
from worker.errors import StoreAway

_HASH_LENGTH = 64
_SYNCS_AT_ONCE = 8


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
        held = self._held(sha256, room)
        if held is not None:
            if _sha256(held) != sha256:
                _copy(source, held)
            return
        target = self._place(sha256, room)
        try:
            # Asked first: a mkdir that finds its folder costs as much as one that makes it.
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise StoreAway(
                f"the image store is out of reach: {self.root / room}: {error.strerror}"
            ) from error
        if not (link and _linked(source, target)):
            _copy(source, target)

    def sync(self, sha256s: Iterable[str]) -> None:
        """Make the files and the folders' entries of these hashes survive a power cut."""
        files = [self.path(sha256) for sha256 in sha256s]
        folders = {
            folder for path in files for folder in path.parents[: len(path.relative_to(self.root).parts)]
        }
        paths = [*files, *folders]
        at_once = min(_SYNCS_AT_ONCE, len(paths))
        if at_once:
            # Several at once: the disk writes what it is asked for together in one go.
            with ThreadPoolExecutor(at_once) as pool:
                for _ in pool.map(_fsync_all, [paths[start::at_once] for start in range(at_once)]):
                    pass

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash lie. Raises FileNotFoundError."""
        for room in Room:
            if held := self._held(sha256, room):
                return held
        raise FileNotFoundError(errno.ENOENT, "the store has no such image", sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of this hash. Raises FileNotFoundError or another OSError."""
        return self.path(sha256).read_bytes()

    def hashes(self) -> Iterator[str]:
        """Every hash that the store holds, in no order."""
        for room in Room:
            for _, _, names in os.walk(self.root / room):
                yield from (name for name in names if len(name) == _HASH_LENGTH)

    def unfinished(self) -> Iterator[Path]:
        """Copies that are being made, or whose maker died."""
        for room in Room:
            yield from (self.root / room).rglob("*.part")

    def _held(self, sha256: str, room: Room) -> Path | None:
        """Where these bytes lie in a room, if they do. Earlier stores have a folder more."""
        place = self._place(sha256, room)
        for path in (place, place.parent / sha256[2:4] / sha256):
            if path.exists():
                return path
        return None

    def _place(self, sha256: str, room: Room) -> Path:
        """One of 256 folders a room: a million images are four thousand a folder."""
        return self.root / room / sha256[:2] / sha256


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


def _fsync_all(paths: Iterable[Path]) -> None:
    for path in paths:
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
