"""Which names in the inbox are unfinished files, and which are files that other programs leave beside images.

Both are left alone. An unfinished file gets its final name later. Clutter never becomes an image and is counted.
Every other file gets a receipt.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection

# Names that programs give to a file until it is complete: WinSCP, Firefox, Internet Explorer, Chrome, Opera,
# Safari, qBittorrent, uTorrent, and editors that write a copy first. rsync, lftp, Syncthing and scp -T
# of macOS use hidden names.
_TEMPORARY_SUFFIXES = (
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".filepart",
    ".crdownload",
    ".opdownload",
    ".download",
    ".!qb",
    ".!ut",
    "~",
)
_TEMPORARY_PREFIXES = (".", "~syncthing~")
# aria2 and lftp write to the final name, and keep such a file beside it until it is complete.
CONTROL_SUFFIXES = (".aria2", ".lftp-pget-status")

_CLUTTER_NAMES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "autorun.inf", "dicomdir", "icon\r",
    # Folders of network storage, Windows, macOS and Linux.
    "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "__macosx", "lost+found",
    "network trash folder", "temporary items",
}  # fmt: skip
_CLUTTER_HIDDEN = (".ds_store", "._", ".@__thumb", ".trash", ".~lock.", ".spotlight", ".fseventsd")
_CLUTTER_PREFIXES = ("~$",)
_CLUTTER_SUFFIXES = (
    ".txt", ".md", ".log", ".ini", ".url", ".lnk", ".nfo", ".lock", ".lck", ".swp", ".bak",
)  # fmt: skip


class NameRules:
    """Sorts names of files and folders. Upper and lower case count as equal."""

    def __init__(self, patterns: str = "") -> None:
        """Leave alone what matches one of the `patterns` too: shell patterns, separated by commas."""
        expressions = [
            fnmatch.translate(part.strip().lower()) for part in patterns.split(",") if part.strip()
        ]
        self._pattern = re.compile("|".join(expressions)) if expressions else None

    def is_ignored(self, name: str) -> bool:
        """Return whether a file or folder of this name is left alone."""
        return self.is_temporary(name) or self.is_clutter(name)

    def select(self, names: Collection[str]) -> set[str]:
        """Return which names of one folder are files and folders to read."""
        beside = set(names)
        return {name for name in names if not self.is_ignored(name) and not is_in_transfer(name, beside)}

    def is_temporary(self, name: str) -> bool:
        """Return whether the name marks an unfinished file or folder, or a hidden one."""
        name = name.lower()
        return name.startswith(_TEMPORARY_PREFIXES) or name.endswith(
            (*_TEMPORARY_SUFFIXES, *CONTROL_SUFFIXES)
        )

    def is_clutter(self, name: str) -> bool:
        """Return whether another program keeps a file or folder of this name beside images."""
        name = name.lower()
        return (
            name in _CLUTTER_NAMES
            or name.startswith((*_CLUTTER_HIDDEN, *_CLUTTER_PREFIXES))
            or name.endswith(_CLUTTER_SUFFIXES)
            or (self._pattern is not None and self._pattern.match(name) is not None)
        )


def is_in_transfer(name: str, beside: Collection[str]) -> bool:
    """Return whether one of the names beside this one says that it is still being transferred."""
    return any(f"{name}{suffix}" in beside for suffix in CONTROL_SUFFIXES)
