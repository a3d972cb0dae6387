"""A file that is to be accepted, opened once, so that all steps work on the same inode.

Whoever drops a file owns it and may keep it open. The image store may share an inode only with a file that nobody
else can change: it belongs to us, nobody else may write to it, it has one name, and the kernel says that nobody has
it open for writing. Any other file is copied.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worker.imagefile.identity import Identity
from worker.intake.tree import opened_folder

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_READ_ONLY = stat.S_IRUSR


class BeingWritten(Exception):  # noqa: N818 - says what happens
    """A process has the file open for writing: a later scan reads it."""


@dataclass(frozen=True)
class Candidate:
    """A complete file that is to be accepted, and the name under which it arrived.

    Attributes:
        path: the path of the file.
        name: the name for the receipt.
        root: a folder above the file; no link below it is followed. None: the folder of the file.
        identity: device and inode that a scan saw; None: not known.
        stated: what a form or a sidecar says about the patient; None: nothing. It does not count for a file that says
            it itself.
    """

    path: Path
    name: str
    root: Path | None = None
    identity: tuple[int, int] | None = None
    stated: Identity | None = None

    @contextmanager
    def folder(self) -> Iterator[int]:
        """Yield the descriptor of the folder that holds the file. Raises OSError."""
        root = self.root or self.path.parent
        with opened_folder(root, str(self.path.parent.relative_to(root))) as handle:
            yield handle

    def status(self) -> os.stat_result:
        """Return the present status of the file. Raises OSError."""
        with self.folder() as folder:
            return os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)

    def remove(self, fingerprint: tuple[int, ...]) -> None:
        """Delete the file, unless another file has replaced it under this name.

        Raises:
            BeingWritten: a process has opened the file for writing since it was read.
            OSError: the file cannot be deleted.
        """
        with self.folder() as folder, _opened(self.path.name, folder) as handle:
            if fingerprint_of(os.fstat(handle)) == fingerprint:
                _take_lease(handle)
                os.unlink(self.path.name, dir_fd=folder)


@dataclass(frozen=True)
class OpenSource:
    """An opened file: the descriptor of its folder, its name there, its bytes and its status when it was opened."""

    folder: int
    name: str
    file: BinaryIO
    status: os.stat_result

    def current_status(self) -> os.stat_result:
        """Return the status of the file that now has this name. Raises OSError."""
        return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)

    def check_writers(self) -> None:
        """Raise BeingWritten if the kernel says that a process has the file open for writing."""
        _take_lease(self.file.fileno())

    def make_private(self) -> bool:
        """Make the file read-only, and return whether nobody else can change its bytes until it is closed."""
        belongs_to_us = self.status.st_uid == os.geteuid() and self.status.st_nlink == 1
        if not belongs_to_us or self.status.st_mode & _WRITABLE_BY_OTHERS:
            return False
        try:
            quiet = _take_lease(self.file.fileno())
        except BeingWritten:
            quiet = False
        if not quiet:
            return False
        # Only if need be, because it changes the change time, and with it the key of this arrival.
        if stat.S_IMODE(self.status.st_mode) != _READ_ONLY:
            os.fchmod(self.file.fileno(), _READ_ONLY)
        # From now on, only root could open it for writing. Somebody who tried just before breaks the lease.
        return _holds_lease(self.file.fileno())


@contextmanager
def open_source(candidate: Candidate, *, locked: bool = False) -> Iterator[OpenSource]:
    """Open the file of a candidate, and lock it until it is closed if asked.

    Two watchers of one folder that made the same file private at the same time would each change its change time, and
    so see two arrivals.

    Raises:
        BeingWritten: another process has a lock on the file.
        FileNotFoundError: there is no regular file, or not the one that was seen.
        OSError: the file cannot be read.
    """
    with (
        candidate.folder() as folder,
        _opened(candidate.path.name, folder) as handle,
        os.fdopen(handle, "rb", closefd=False) as file,
    ):
        if locked:
            _lock(handle)
        status = os.fstat(handle)
        identity = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or candidate.identity not in {None, identity}:
            raise FileNotFoundError(candidate.path)
        yield OpenSource(folder, candidate.path.name, file, status)


@contextmanager
def _opened(name: str, folder: int) -> Iterator[int]:
    handle = os.open(name, _READ_FLAGS, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def fingerprint_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def arrival_key(name: str, status: os.stat_result) -> str:
    """Return a key for this arrival. It contains the inode's change time, which nobody can set, not even `cp -p`.

    The key is made after the link into the store, which is the last change to the inode. The name is part of
    the key, because one inode can have two names in the inbox, which count as two files. The device is not
    part of the key, because its number changes when the disk is mounted again.
    """
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f"{status.st_ino}:{status.st_ctime_ns}:{status.st_size}:{digest}"


def kept_key(name: str, status: os.stat_result) -> str:
    """Return the key of an arrival whose file cannot be removed: a chown or chmod must not make it a new arrival."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f"kept:{status.st_ino}:{status.st_mtime_ns}:{status.st_size}:{digest}"


def _lock(handle: int) -> None:
    """Lock a file until it is closed, where its file system has such locks. Raises BeingWritten."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BeingWritten from None
    except OSError:
        # Some network file systems lock no file that is open for reading only.
        return


def _take_lease(handle: int) -> bool:
    """Take a read lease, which the kernel gives only while nobody has the file open for writing (fcntl(2)).

    The lease ends when the file is closed. Until then, a process that opens the file for writing waits.

    Returns:
        False if this system cannot tell: not Linux, a file system without leases, or the file of another user.

    Raises:
        BeingWritten: a process has the file open for writing.
    """
    if sys.platform != "linux":
        return False
    try:
        # The signal when somebody wants to write. By default it is SIGIO, which would end this process.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        raise BeingWritten from None
    except OSError:
        return False
    return True


def _holds_lease(handle: int) -> bool:
    return sys.platform == "linux" and fcntl.fcntl(handle, fcntl.F_GETLEASE) == fcntl.F_RDLCK
