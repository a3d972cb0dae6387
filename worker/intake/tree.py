"""Walks folders through descriptors, so that nobody can lead the program to another file.

Somebody who may write to the inbox can replace one of its folders by a link between two of our steps. So each
folder is opened through the descriptor of the folder above it and never through a link (openat(2), O_NOFOLLOW).
The folder where a walk starts may be a link: an administrator chose it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# PATH_MAX on Linux. Other programs could not name a file whose path is longer.
_LONGEST_PATH = 4096

OnError = Callable[[str, OSError], object]


@contextmanager
def opened_folder(root: Path, relative: str) -> Iterator[int]:
    """Open the folder `relative` below `root` and yield its descriptor. No link below `root` is followed.

    Raises OSError: the folder cannot be opened, or a part of `relative` is a link, a file or `..`.
    """
    if len(os.fsencode(relative)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    handle = os.open(root, _FOLDER)
    try:
        for part in PurePath(relative).parts:
            if part == os.pardir:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def walk(
    root: Path,
    select: Callable[[Collection[str]], Collection[str]],
    on_error: OnError,
    on_empty: Callable[[str], object],
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path below `root` and the status of every regular file, in order of name within its folder.

    Args:
        root: the folder to walk.
        select: returns which of the names in one folder are wanted, of files and of folders.
        on_error: called with the path and the error of each folder or file that cannot be read.
        on_empty: called with the path of each empty folder below `root`.
    """
    folders = [""]
    while folders:
        current = folders.pop()
        try:
            entries = _entries(root, current)
        except OSError as error:
            on_error(current, error)
            continue
        if not entries and current:
            on_empty(current)
        below, wanted = [], select([name for name, _ in entries])
        for name, status in entries:
            if name not in wanted:
                continue
            path = f"{current}/{name}" if current else name
            if isinstance(status, OSError):
                on_error(path, status)
            elif stat.S_ISDIR(status.st_mode):
                below.append(path)
            elif stat.S_ISREG(status.st_mode):
                yield path, status
        folders += reversed(below)


def _entries(root: Path, folder: str) -> list[tuple[str, os.stat_result | OSError]]:
    """Return the name of each entry of a folder, in order, with its status or the reason why it has none."""
    with opened_folder(root, folder) as handle, os.scandir(handle) as entries:
        return [(entry.name, status) for entry in _by_name(entries) if (status := _status(entry)) is not None]


def _by_name(entries: Iterator[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return sorted(entries, key=lambda entry: entry.name)


def _status(entry: os.DirEntry[str]) -> os.stat_result | OSError | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
