"""The folders and files of the program must not contain one another wrongly.

The inbox is emptied, abandoned files in `incoming` are deleted, and the image store is compared with the ledger:
a folder that two of them shared would lose files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# The setting of all places that no setting of their own names.
_DEFAULT = "NIGHTREAD_DATA"
_READ = stat.S_IRGRP | stat.S_IROTH
_ENTER = stat.S_IXGRP | stat.S_IXOTH
# The first bytes of a database (sqlite.org/fileformat.html, 1.3.1). A new one is empty.
_SQLITE_START = b"SQLite format 3\0"


@dataclass(frozen=True)
class Place:
    """A folder or a file of the program.

    Attributes:
        name: for a message, for example `the inbox`.
        path: absolute path; it may not exist yet.
        setting: the setting that says where it is.
        exclusive: whether it is a folder that no other place may share or lie in.
        folder: whether it is another folder.
    """

    name: str
    path: Path
    setting: str
    exclusive: bool = False
    folder: bool = False


def conflicts(places: Sequence[Place]) -> Iterator[str]:
    """Yield a sentence for each place that lies in an exclusive folder, or is the same file as another place."""
    for number, first in enumerate(places):
        for second in places[number + 1 :]:
            sentence = _conflict(first, second) or _conflict(second, first)
            if sentence:
                yield sentence


def wrong_kinds(places: Sequence[Place]) -> Iterator[str]:
    """Yield a sentence for each place that cannot exist: it or a part of its path is no folder, or it must be a file.

    A file in the way of several places is named once.
    """
    in_the_way = set()
    for place in places:
        is_folder = place.exclusive or place.folder
        ancestors = (place.path, *place.path.parents) if is_folder else place.path.parents
        existing = next((folder for folder in ancestors if _exists(folder)), None)
        if existing is not None and not existing.is_dir():
            if existing not in in_the_way:
                yield f"{place.setting}: {existing} is not a folder, so {place.name} cannot be at {place.path}."
            in_the_way.add(existing)
        elif not is_folder and place.path.is_dir():
            yield f"{place.setting}: {place.path} is a folder, but {place.name} must be a file."


def is_no_database(path: Path) -> bool:
    """Return whether there is a file at `path` that is not an SQLite database.

    Call this only before the process opens the database: closing the file would end SQLite's locks (fcntl(2)).
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_SQLITE_START)) not in {b"", _SQLITE_START}
    except OSError:
        return False


def make_private() -> None:
    """Let only our own user read what this process and its children create, whatever the user's umask."""
    os.umask(0o077)


def readable_by_others(places: Sequence[Place]) -> list[Path]:
    """Return the places that another user of this machine can read, or whose content they can list."""
    return [place.path for place in places if _grants(place.path, _READ) and _is_reachable(place.path)]


def contains(outer: Path, inner: Path) -> bool:
    """Return whether `inner` is `outer` or lies in it: by its path, or through links and mounts."""
    folders = (inner.resolve(), *inner.resolve().parents)
    identity = _identity(outer)
    return outer.resolve() in folders or (
        identity is not None and any(_identity(folder) == identity for folder in folders)
    )


def _conflict(outer: Place, inner: Place) -> str | None:
    if outer.exclusive and contains(outer.path, inner.path):
        # The one that somebody set is wrong, not the default.
        setting = inner.setting if inner.setting != _DEFAULT else outer.setting
        return (
            f"{setting}: {inner.name} must not be or lie in {outer.name}. {inner.name.capitalize()} is "
            f"{inner.path}, {outer.name} is {outer.path}."
        )
    if not outer.path.is_dir() and outer.path.resolve() == inner.path.resolve():
        return f"{inner.setting}: {inner.path} cannot be both {outer.name} and {inner.name}."
    return None


def _is_reachable(path: Path) -> bool:
    return all(_grants(folder, _ENTER) for folder in path.resolve().parents)


def _grants(path: Path, mode: int) -> bool:
    try:
        return bool(path.stat().st_mode & mode)
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
