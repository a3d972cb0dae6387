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
    on_folder: Callable[[str, Collection[str]], object],
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path below `root` and the status of every regular file, in order of name within its folder.

    Args:
        root: the folder to walk.
        select: returns which of the names in one folder are wanted, of files and of folders.
        on_error: called with the path and the error of each folder or file that cannot be read.
        on_folder: called with the path of each folder below `root`, and all names in it.
    """
    folders = [""]
    while folders:
        current = folders.pop()
        below: list[str] = []
        try:
            with opened_folder(root, current) as handle:
                names = sorted(os.listdir(handle))  # noqa: PTH208 -- a descriptor, not a path
                if current:
                    on_folder(current, names)
                wanted = select(names)
                for name in names:
                    if name not in wanted or (status := _status(name, handle)) is None:
                        continue
                    path = f"{current}/{name}" if current else name
                    if isinstance(status, OSError):
                        on_error(path, status)
                    elif stat.S_ISDIR(status.st_mode):
                        below.append(path)
                    elif stat.S_ISREG(status.st_mode):
                        yield path, status
        except OSError as error:
            on_error(current, error)
        folders += reversed(below)


def _status(name: str, folder: int) -> os.stat_result | OSError | None:
    """Return the status of an entry of a folder, the reason why it has none, or None if it is gone."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
