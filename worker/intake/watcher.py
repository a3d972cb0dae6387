"""The folder monitor: finds complete files in the inbox and accepts them.

A periodic scan finds the files. Events from watchdog only start the next scan sooner, because a network
share sends none. Complete files go to `accept` in groups. The ids of new images go to a function of the
caller, so that this module does not depend on the queue.
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
# Long enough that a folder is not removed while somebody copies files into it by hand.
_EMPTY_FOLDER_KEPT_S = 60.0
# A burst of events starts one scan, not one for each event.
_SHORTEST_PAUSE_S = 0.2
# Only these events start a scan; scans see how a file changes after that. To handle all events, which
# include our own reads and deletes, would cost as much time as accepting the files.
_ARRIVALS: list[type[FileSystemEvent]] = [DirCreatedEvent, DirMovedEvent, FileCreatedEvent, FileMovedEvent]

Enqueue = Callable[[Sequence[int], Lane], object]


class FolderMonitor:
    """Watches one inbox."""

    def __init__(self, settings: Settings, acceptor: Acceptor, enqueue: Enqueue) -> None:
        """Watch the inbox of `settings`; call `enqueue` with the ids of new images after each commit."""
        self._inbox = settings.inbox
        self._scan_s = settings.scan_s
        self._acceptor = acceptor
        self._enqueue = enqueue
        self._tracker = StabilityTracker(settings.settle_s)
        self._wake = threading.Event()

    def run(self, stop: threading.Event, after_scan: Callable[[], object]) -> None:
        """Scan until `stop` is set. Raises what a scan raises; every file that was not accepted still exists."""
        self._inbox.mkdir(parents=True, exist_ok=True)
        observer = Observer()
        observer.schedule(_Waker(self._wake), str(self._inbox), recursive=True, event_filter=_ARRIVALS)
        try:
            observer.start()
        except OSError as error:
            # The kernel has no free watches (inotify(7)), or the file system sends no events.
            log.warning("there are no file events; the inbox is scanned periodically", error=error.strerror)
        try:
            while not stop.is_set():
                self._wake.clear()
                started = time.monotonic()
                due_s = self.scan_once()
                after_scan()
                if due_s is None:
                    self._wait_for_event(stop)
                else:
                    # Scanning takes at most half of the time, however full the folder is.
                    scan_took_s = time.monotonic() - started
                    stop.wait(min(self._scan_s, max(_SHORTEST_PAUSE_S, due_s, scan_took_s)))
        finally:
            if observer.is_alive():
                observer.stop()
                observer.join()

    def scan_once(self) -> float | None:
        """Scan the inbox once and accept the complete files.

        Returns:
            Seconds until the next file may be complete; None if no file is expected.
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
        """Wait for an event, the time of the next periodic scan, or `stop`."""
        until = time.monotonic() + self._scan_s
        while not stop.is_set() and not self._wake.is_set() and time.monotonic() < until:
            self._wake.wait(_SHORTEST_PAUSE_S)


class _Waker(FileSystemEventHandler):
    """Sets `wake` on every event."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - watchdog's signature
        self._wake.set()


def is_ignored(name: str) -> bool:
    """Return whether the name of a file or folder marks it as hidden or unfinished."""
    return name.startswith(".") or name.lower().endswith(_PARTIAL_SUFFIXES)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every regular file below `folder`, in order of name; no links, no ignored names."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        paths = (Path(parent, name) for name in sorted(names) if not is_ignored(name))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _scan(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every regular file below `folder` with its size and time in ns; no links, no ignored names."""
    folders = [folder]
    while folders:
        current = folders.pop()
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
                folders.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                yield entry.path, (status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1_000)
def _warn_unreadable_folder(_path: str, error: str) -> None:
    """Log once for each folder, not on each scan; without its name, which may contain the name of a patient."""
    log.warning("a folder cannot be read; it stays where it is", error=error)


def _remove_if_idle(folder: Path) -> None:
    try:
        if time.time() - folder.stat().st_mtime > _EMPTY_FOLDER_KEPT_S:
            folder.rmdir()
    except OSError:
        # Somebody has just used or removed the folder: the next scan sees its new state.
        return
