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
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class Area(StrEnum):
    """The two halves of the store."""

    IMAGES = "images"
    REJECTED = "turned-away"


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
        for area in Area:
            (self.root / area).mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Raise StoreAway when the store as a whole is out of reach."""
        folder = self.root / Area.IMAGES
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except OSError as error:
            raise StoreAway(f"the image store is out of reach: {folder}: {error.strerror}") from error

    def put(self, source: Path, sha256: str, area: Area, *, link: bool = True) -> Path:
        """Keep the bytes of `source` under their hash, and say where; the source stays where it is.

        Linked, so that nothing is copied; across devices, or when `link` is False because the
        source belongs to someone who may still change it, copied and then renamed into path.
        What lies there already is read: left by a file that changed under our hands, or by a bad
        disk, it may be other bytes, and is replaced. Durable only after `sync`. Raises OSError, and
        StoreAway when the store's own folders are gone.
        """
        path = self._path_of(sha256, area)
        if link and self._link(source, path):
            return path
        if not path.exists():
            self._make_parent(path)
            if _copy(source, path):
                return path
        if _sha256(path) != sha256:
            _copy(source, path, over=True)
        return path

    def sync(self, files: Iterable[Path]) -> None:
        """Make these files of the store, and the folders' entries for them, survive a power cut."""
        paths = list(files)
        if not paths:
            return
        folders = {self.root}
        for folder in {path.parent for path in paths}:
            above = folder
            # A new folder's own entry stands in the folder above it.
            while above not in folders:
                folders.add(above)
                above = above.parent
        paths += folders
        at_once = min(_SYNCS_AT_ONCE, len(paths))
        # Several at once: the disk writes what it is asked for together in one go.
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(_fsync_all, [paths[start::at_once] for start in range(at_once)]):
                pass

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash lie. Raises FileNotFoundError."""
        for path in (self._path_of(sha256, area) for area in Area):
            if path.exists():
                return path
        raise FileNotFoundError(errno.ENOENT, "the store has no such image", sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of this hash. Raises FileNotFoundError or another OSError."""
        return self.path(sha256).read_bytes()

    def hashes(self) -> Iterator[str]:
        """Every hash that the store holds, in no order."""
        for area in Area:
            for _, _, names in os.walk(self.root / area):
                yield from (name for name in names if len(name) == _HASH_LENGTH)

    def unfinished(self) -> Iterator[Path]:
        """Copies that are being made, or whose maker died."""
        for area in Area:
            yield from (self.root / area).rglob("*.part")

    def _path_of(self, sha256: str, area: Area) -> Path:
        """One of 256 folders an area: a million images are four thousand a folder."""
        return self.root.joinpath(area, sha256[:2], sha256)

    def _link(self, source: Path, path: Path) -> bool:
        """Link, or say that it cannot be: something lies there, or not here (another device, no links)."""
        try:
            try:
                os.link(source, path, follow_symlinks=False)
            except FileNotFoundError:
                # Of 256 folders each is made once; asking before would cost every file as much.
                self._make_parent(path)
                os.link(source, path, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        return True

    def _make_parent(self, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise StoreAway(
                f"the image store is out of reach: {path.parents[1]}: {error.strerror}"
            ) from error


def open_store(settings: Settings) -> Store:
    """The store that the settings name."""
    return Store(settings.store_path)


def _copy(source: Path, target: Path, *, over: bool = False) -> bool:
    """Copy beside the target, and rename; False when another process was quicker, unless it goes `over` that.

    What that process has linked there may be this very source: to replace it would change the source's
    times, by which its arrival is known.
    """
    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        shutil.copyfile(source, unfinished, follow_symlinks=False)
        _fsync(unfinished)
        if over:
            unfinished.replace(target)
        else:
            _rename_to_new(unfinished, target)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _rename_to_new(unfinished: Path, target: Path) -> None:
    """Raises FileExistsError where the file system has links; without them nobody links into the store."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        unfinished.replace(target)


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
