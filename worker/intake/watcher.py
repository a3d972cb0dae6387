"""The folder monitor: finds complete files in the inbox and accepts them.

A periodic scan finds the files. Events from watchdog only start the next scan sooner, because a network
share sends none. Complete files go to `accept` in groups. The ids of new images go to a function of the
caller, so that this module does not depend on the queue.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from worker.intake.accept import Acceptor, in_groups
from worker.intake.completeness import is_jpeg_or_png, looks_broken_off
from worker.intake.names import NameRules
from worker.intake.problems import Problems
from worker.intake.sidecar import Sidecars, is_sidecar
from worker.intake.source import Candidate, fingerprint_of, open_source
from worker.intake.stability import Sighting, StabilityTracker
from worker.intake.stated import SiteKey
from worker.intake.tree import opened_folder, walk
from worker.ledger.states import Lane, Outcome, Source

log = structlog.get_logger(__name__)

# Long enough that a folder is not removed while somebody still copies files into it.
_EMPTY_FOLDER_KEPT_S = 86_400.0
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
        self._broken_off_s = settings.broken_off_s
        self._names = NameRules(settings.ignore)
        self._sidecars = Sidecars(settings.inbox, acceptor.site_keys.key)
        self._clutter = 0
        self._brought_files: set[str] = set()
        self._brought_and_seen: set[str] = set()
        self._problems = Problems()
        self._device: int | None = None
        self._wake = threading.Event()

    def run(
        self, stop: threading.Event, after_step: Callable[[], object], after_scan: Callable[[], object]
    ) -> None:
        """Scan until `stop` is set; a scan ends before its next step.

        A scan of a full inbox takes long, so `after_step` is called for each file that is looked at and each group that is
        accepted. Raises what a scan raises; every file that was not accepted still exists.
        """

        def goes_on() -> bool:
            after_step()
            return not stop.is_set()

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
                due_s = self.scan_once(goes_on)
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

    def scan_once(self, goes_on: Callable[[], bool] = lambda: True) -> float | None:
        """Scan the inbox once and accept the complete files, as long as `goes_on` returns true at each step.

        Returns:
            Seconds until the next file may be complete; None if no file is expected, or the scan ended early.
        """
        self._problems = Problems(self._has_rested)
        clutter_before, self._clutter = self._clutter, 0
        self._brought_and_seen = set()
        states: dict[str, tuple[int, ...]] = {}
        sightings = []
        for path, status in self._scan():
            if not goes_on():
                return None
            states[path] = fingerprint_of(status)
            sightings.append(Sighting(path, states[path], time.monotonic()))
        # Folders that are gone are forgotten.
        self._brought_files = self._brought_and_seen
        complete = self._tracker.observe(sightings)
        self._log_clutter(clutter_before)
        self._sidecars.seen(states, set(complete))
        self._sidecars.report(self._problems)
        # One group is looked at and accepted before the next one, however many files there are.
        for group in in_groups(self._due(complete, states, goes_on)):
            if not goes_on():
                return None
            self._accept([self._sidecars.with_identity(candidate) for candidate in group])
        return self._tracker.due_in(time.monotonic())

    def problem(self) -> str | None:
        """Return what the last scan found that a person should look into; None if nothing."""
        problems = self._problems.text()
        return self._moved() or (problems and f"files and folders in the inbox: {problems}")

    def _moved(self) -> str | None:
        """Return a text while the inbox lies on another file system than at the first scan."""
        try:
            device = self._inbox.stat().st_dev
        except OSError as error:
            return f"the inbox cannot be read ({error.strerror})"
        self._device = self._device or device
        if device == self._device:
            return None
        return (
            "the inbox lies on another file system than at the start. If it is a share, mount it again; "
            "if it was moved, restart Nightread"
        )

    def _scan(self) -> Iterator[tuple[str, os.stat_result]]:
        return walk(self._inbox, self._select, self._note_unreadable, self._note_folder)

    def _note_unreadable(self, path: str, error: OSError) -> None:
        if path and isinstance(error, FileNotFoundError):
            return
        self._problems.unreadable(error)
        _warn_unreadable(path, error)

    def _select(self, names: Collection[str]) -> Collection[str]:
        self._clutter += sum(map(self._names.is_clutter, names))
        return self._names.select(names)

    def _due(
        self, complete: Sequence[str], states: Mapping[str, tuple[int, ...]], goes_on: Callable[[], bool]
    ) -> Iterator[Candidate]:
        """Yield the settled files that may be read now. Each is looked at when it is taken, which may be long after the scan."""
        for path in complete:
            if not goes_on():
                return
            if not is_sidecar(path):
                candidate = self._candidate(path, states[path])
                if self._is_due(candidate, states[path]):
                    yield candidate

    def _is_due(self, candidate: Candidate, state: tuple[int, ...]) -> bool:
        """Return whether a file that has settled may be read now.

        One that has changed since the scan waits for the next one. One that looks broken off rests longer, and so does one
        that its folder's sidecar does not name yet. However long it has rested, it waits while the sidecar is being written.
        """
        try:
            with open_source(candidate) as opened:
                if fingerprint_of(opened.status) != state:
                    return False
                has_rested = self._has_rested(candidate.name)
                if not has_rested and looks_broken_off(opened.file, opened.status.st_size):
                    return False
                if self._sidecars.has_line(candidate.name) or not is_jpeg_or_png(opened.file):
                    return True
                return has_rested and not self._sidecars.is_being_written(candidate.name)
        except OSError:
            # `accept` reports why it cannot be read.
            return True

    def _has_rested(self, name: str) -> bool:
        return self._tracker.rested_s(name, time.monotonic()) >= self._broken_off_s

    def _log_clutter(self, before: int) -> None:
        if self._clutter != before:
            log.info("files and folders that are left alone in the inbox", count=self._clutter)

    def _candidate(self, path: str, state: tuple[int, ...]) -> Candidate:
        device, inode, *_ = state
        return Candidate(self._inbox / path, path, self._inbox, (device, inode))

    def _accept(self, candidates: Sequence[Candidate]) -> None:
        self._brought_files.update(candidate.name.rpartition("/")[0] for candidate in candidates)
        accepted = self._acceptor.accept(
            candidates, source=Source.FOLDER, lane=Lane.OVERNIGHT, problems=self._problems
        )
        new = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
        if new:
            self._enqueue(new, Lane.OVERNIGHT)

    def _note_folder(self, path: str, names: Collection[str]) -> None:
        # Any other folder is a standing one: a sender expects to find it.
        if path in self._brought_files:
            self._brought_and_seen.add(path)
            if not names:
                self._remove_if_idle(path)

    def _remove_if_idle(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        try:
            with opened_folder(self._inbox, parent) as folder:
                changed_at = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
                if time.time() - changed_at > _EMPTY_FOLDER_KEPT_S:
                    os.rmdir(name, dir_fd=folder)
        except OSError:
            # Somebody has just used or removed the folder: the next scan sees its new state.
            return

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


def files_below(folder: Path, ignore: str = "") -> list[Candidate]:
    """Return every regular file below `folder`, in order of name; no links, no sidecars, no names that are left alone.

    `ignore` holds further patterns of such names.
    """
    return [
        Candidate(folder / path, path, folder, (status.st_dev, status.st_ino))
        for path, status in _files(folder, ignore)
        if not is_sidecar(path)
    ]


def sidecars_below(folder: Path, ignore: str, site_key: SiteKey) -> Sidecars:
    """Return the sidecars below `folder`, all of which count as complete."""
    states = {path: fingerprint_of(status) for path, status in _files(folder, ignore) if is_sidecar(path)}
    sidecars = Sidecars(folder, site_key)
    sidecars.seen(states, set(states))
    return sidecars


def clutter_below(folder: Path, ignore: str) -> list[str]:
    """Return the names of the files and folders that other programs keep beside images, in order of their folder."""
    rules = NameRules(ignore)
    found: list[str] = []

    def select(names: Collection[str]) -> Collection[str]:
        found.extend(name for name in names if rules.is_clutter(name))
        return rules.select(names)

    for _ in walk(folder, select, _warn_unreadable, _ignore_folder):
        pass
    return found


def _files(folder: Path, ignore: str) -> Iterator[tuple[str, os.stat_result]]:
    return walk(folder, NameRules(ignore).select, _warn_unreadable, _ignore_folder)


def _ignore_folder(_path: str, _names: Collection[str]) -> None:
    pass


def _warn_unreadable(path: str, error: OSError) -> None:
    _warn_once(path, str(error.strerror))


@lru_cache(maxsize=1_000)
def _warn_once(_path: str, error: str) -> None:
    """Log once for each folder, not on each scan; without its name, which may contain the name of a patient."""
    log.warning("a folder cannot be read; it stays where it is", error=error)
