"""The image store: a folder in which each file is named by its SHA-256.

Images to score are in the area `images`, files that the intake rejected in the area `turned-away`. A file
is found by its hash in both.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from worker.config import Settings
from worker.errors import StoreAway

_HASH_LENGTH = 64
_SYNCS_AT_ONCE = 8
# The errors of a file system that cannot link these two paths.
_DESCRIPTORS = "/proc/self/fd"
_CAN_LINK_DESCRIPTORS = Path(_DESCRIPTORS).is_dir()
_READ_ONLY = 0o400
_BLOCK = 1024**2
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class SourceChanged(Exception):  # noqa: N818 - says what happened
    """The bytes to store changed while they were read."""


class Area(StrEnum):
    """The two areas of the store; the values are the names of their folders on disk."""

    IMAGES = "images"
    REJECTED = "turned-away"


class Store:
    """An image store in a folder. A file in it is complete, belongs to us alone, and is never changed or renamed.

    Only an erasure, or the end of the time for which bytes are kept, removes one.
    """

    def __init__(self, root: Path) -> None:
        """Use the folder `root`, which `make` creates."""
        self.root = root

    def make(self) -> None:
        """Create the folders of the store, before the first image. Raises OSError.

        Later they must exist: a share that is not mounted looks like an empty folder. Files that are written
        into that folder are hidden, and so lost, when the share is mounted again.
        """
        for area in Area:
            (self.root / area).mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        """Raise StoreAway when the store is out of reach."""
        folder = self.root / Area.IMAGES
        try:
            with os.scandir(folder) as entries:
                next(entries, None)
        except OSError as error:
            raise StoreAway(f"the image store is out of reach: {folder}: {error.strerror}") from error

    def put(self, content: BinaryIO, sha256: str, area: Area, *, inode: int | None = None) -> Path:
        """Store bytes under their hash, in a file that only its owner may read and nobody may write.

        If the store already has a file under this hash, its bytes are hashed again. Wrong bytes are replaced: the
        disk may be bad. The file is durable only after `sync`.

        Args:
            content: the bytes, open for reading.
            sha256: their hash, in hex.
            area: the area of the store.
            inode: descriptor of a file that holds these bytes and that nobody else can change. It is linked
                into the store, so that no bytes are copied, unless the store is on another device.

        Returns:
            The path in the store.

        Raises:
            SourceChanged: `content` does not have this hash any more. Nothing was stored.
            StoreAway: the folders of the store are missing.
            OSError: the file cannot be stored.
        """
        path = self._path_of(sha256, area)
        if inode is not None and self._link(inode, path):
            return path
        if not path.exists():
            self._make_parent(path)
            if _copy(content, sha256, path):
                return path
        if _sha256(path) != sha256:
            _copy(content, sha256, path, replace=True)
        return path

    def sync(self, files: Iterable[Path]) -> None:
        """Call fsync for these files and for the folders that hold them, so that they survive a power failure."""
        paths = list(files)
        if not paths:
            return
        folders = {self.root}
        for folder in {path.parent for path in paths}:
            folder_or_parent = folder
            # The entry of a new folder is in the folder above it.
            while folder_or_parent not in folders:
                folders.add(folder_or_parent)
                folder_or_parent = folder_or_parent.parent
        paths += folders
        at_once = min(_SYNCS_AT_ONCE, len(paths))
        # Several threads, because the disk writes simultaneous requests together.
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(_fsync_all, [paths[start::at_once] for start in range(at_once)]):
                pass

    def path(self, sha256: str) -> Path:
        """Return the path of the file with this hash. Raises FileNotFoundError."""
        for path in (self._path_of(sha256, area) for area in Area):
            if path.exists():
                return path
        raise FileNotFoundError(errno.ENOENT, "the store has no such image", sha256)

    def read(self, sha256: str) -> bytes:
        """Return the bytes with this hash. Raises FileNotFoundError or another OSError."""
        return self.path(sha256).read_bytes()

    def has(self, sha256: str) -> bool:
        """Return whether the store has the file with this hash."""
        return any(self._path_of(sha256, area).exists() for area in Area)

    def remove(self, sha256: str) -> None:
        """Delete the file with this hash and its unfinished copies, so that they stay deleted after a power failure.

        Raises:
            StoreAway: the store is out of reach.
            OSError: a file cannot be deleted.
        """
        self.check()
        for area in Area:
            files = list(self._files_of(sha256, area))
            for path in files:
                path.unlink(missing_ok=True)
            if files:
                _fsync(files[0].parent)

    def hashes(self) -> Iterator[str]:
        """Yield the hash of every stored file, in no particular order."""
        for area in Area:
            for _, _, names in os.walk(self.root / area):
                yield from (name for name in names if len(name) == _HASH_LENGTH)

    def unfinished(self) -> Iterator[Path]:
        """Yield unfinished copies: their process is still writing, or has died."""
        for area in Area:
            yield from (self.root / area).rglob("*.part")

    def _path_of(self, sha256: str, area: Area) -> Path:
        """Return the path for a hash: an area has 256 folders, so that a million images make 4,000 a folder."""
        return self.root.joinpath(area, sha256[:2], sha256)

    def _files_of(self, sha256: str, area: Area) -> Iterator[Path]:
        path = self._path_of(sha256, area)
        if path.exists():
            yield path
        yield from path.parent.glob(f"{sha256}.*.part")

    def _link(self, inode: int, path: Path) -> bool:
        """Link an open file into the store. Return False if the path exists or the system cannot link."""
        if not _CAN_LINK_DESCRIPTORS:
            return False
        try:
            try:
                _link_descriptor(inode, path)
            except FileNotFoundError:
                # Each of 256 folders is created once. To look for it first would cost time for every file.
                self._make_parent(path)
                _link_descriptor(inode, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _CANNOT_LINK:
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
    """Return the store that the settings name."""
    return Store(settings.store_path)


def _link_descriptor(handle: int, path: Path) -> None:
    """Give the open file another name. Its own name could be another file's by now (linkat(2), AT_SYMLINK_FOLLOW)."""
    os.link(f"{_DESCRIPTORS}/{handle}", path, src_dir_fd=handle, follow_symlinks=True)


def _copy(content: BinaryIO, sha256: str, target: Path, *, replace: bool = False) -> bool:
    """Copy to a file beside the target, and rename it. Return False if the target exists, unless `replace`.

    The existing target may be a link to this very source, made by another process. Replacing it would
    change the times of the source, which identify its arrival.
    """
    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        if _write(content, unfinished) != sha256:
            raise SourceChanged
        if replace:
            unfinished.replace(target)
        else:
            _rename_to_new(unfinished, target)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _write(content: BinaryIO, path: Path) -> str:
    """Write a new file that nobody may change, and return the hash of what was written."""
    content.seek(0)
    digest = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READ_ONLY)
    with os.fdopen(handle, "wb") as file:
        while block := content.read(_BLOCK):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _rename_to_new(unfinished: Path, target: Path) -> None:
    """Rename to a path that must not exist: raises FileExistsError, except on a file system without links."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
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
