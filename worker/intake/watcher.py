"""The folder monitor: watchdog's events and a periodic scan, both of which only nominate files.

The scan is what counts, since a network share sends no events; an event only makes the next
scan come sooner. What is complete is handed to `accept` in groups, and the new images' ids
to a function that the caller passes in, so this module never knows the queue.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from worker.config import Settings
from worker.intake.accept import Acceptor, Candidate, in_groups
from worker.intake.stability import Sighting, StabilityTracker
from worker.ledger.states import Lane, Outcome, Source

log = structlog.get_logger(__name__)

_PARTIAL_SUFFIXES = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
# Long enough that nobody who copies a tree by hand has the folder removed under them.
_EMPTY_FOLDER_RESTS_S = 60.0
# Two scans in quick succession see a burst of events once.
_SHORTEST_PAUSE_S = 0.2
# What wakes a monitor that rests; how a file changes from then on, its scans see. Every other event, its
# own reading and removing among them, would cost as much as taking the file in does.
_ARRIVALS: list[type[FileSystemEvent]] = [DirCreatedEvent, DirMovedEvent, FileCreatedEvent, FileMovedEvent]

Enqueue = Callable[[Sequence[int], Lane], object]


class FolderMonitor:
    """Watches one inbox until it is told to stop."""

    def __init__(self, settings: Settings, acceptor: Acceptor, enqueue: Enqueue) -> None:
        """Watch the inbox of `settings`; `enqueue` is called with new images' ids after the commit."""
        self._inbox = settings.inbox
        self._scan_s = settings.scan_s
        self._acceptor = acceptor
        self._enqueue = enqueue
        self._tracker = StabilityTracker(settings.settle_s)
        self._wake = threading.Event()

    def run(self, stop: threading.Event, after_scan: Callable[[], object]) -> None:
        """Scan until `stop` is set. Raises what a scan raises; every file is then still there."""
        self._inbox.mkdir(parents=True, exist_ok=True)
        observer = Observer()
        observer.schedule(_Waker(self._wake), str(self._inbox), recursive=True, event_filter=_ARRIVALS)
        try:
            observer.start()
        except OSError as error:
            # The kernel has no watches left (inotify(7)), or the file system sends no events.
            log.warning("the periodic scan goes on alone, without events", error=error.strerror)
        try:
            while not stop.is_set():
                self._wake.clear()
                began = time.monotonic()
                due_s = self.scan_once()
                after_scan()
                if due_s is None:
                    self._wait_for_event(stop)
                else:
                    # Half of the time at most goes into looking, however full the folder is.
                    took_s = time.monotonic() - began
                    stop.wait(min(self._scan_s, max(_SHORTEST_PAUSE_S, due_s, took_s)))
        finally:
            if observer.is_alive():
                observer.stop()
                observer.join()

    def scan_once(self) -> float | None:
        """Look at every file once and take in the complete ones.

        Seconds until another may be complete; None when none is on its way.
        """
        sightings = (Sighting(path, state) for path, state in _scan(str(self._inbox)))
        for group in in_groups(self._tracker.observe(sightings, time.monotonic())):
            self._accept(group)
        return self._tracker.due_in(time.monotonic())

    def _accept(self, paths: Sequence[str]) -> None:
        candidates = [Candidate(Path(path), path.removeprefix(f"{self._inbox}{os.sep}")) for path in paths]
        accepted = self._acceptor.accept(candidates, source=Source.FOLDER, lane=Lane.OVERNIGHT)
        new = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
        if new:
            self._enqueue(new, Lane.OVERNIGHT)

    def _wait_for_event(self, stop: threading.Event) -> None:
        """Wait for an event or the next periodic scan, whichever comes first."""
        until = time.monotonic() + self._scan_s
        while not stop.is_set() and not self._wake.is_set() and time.monotonic() < until:
            self._wake.wait(_SHORTEST_PAUSE_S)


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - watchdog's signature
        self._wake.set()


def is_ignored(name: str) -> bool:
    """Whether a file's or folder's name says that it is hidden or not finished."""
    return name.startswith(".") or name.lower().endswith(_PARTIAL_SUFFIXES)


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below `folder` that is not left alone, no link, in order of name."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        paths = (Path(parent, name) for name in sorted(names) if not is_ignored(name))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _scan(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every regular file below `folder` that is not left alone, with its size and time."""
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            _warn_unreadable_folder(current, str(error.strerror))
            continue
        if not entries and current != folder:
            _remove_if_idle(Path(current))
        for entry in entries:
            if is_ignored(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                _warn_unreadable_folder(entry.path, str(error.strerror))
                continue
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                yield entry.path, (status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1_000)
def _warn_unreadable_folder(_path: str, why: str) -> None:
    """Say it once a folder, not once a scan; without its name, which may be a patient's."""
    log.warning("a folder cannot be looked into and is left where it is", error=why)


def _remove_if_idle(folder: Path) -> None:
    try:
        if time.time() - folder.stat().st_mtime > _EMPTY_FOLDER_RESTS_S:
            folder.rmdir()
    except OSError:
        # Somebody filled or removed it in between: the next scan sees what is there.
        return
