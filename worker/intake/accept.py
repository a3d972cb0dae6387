"""Accepts files: hash, store and record a group of files in one transaction, then remove the sources.

The order matters: first the store, then the commit, then the removal. After a crash at any point there is
still a copy, and the next scan finishes the work. A file that was recorded but not yet removed is recognised
by its `arrival` key, and gets no second receipt.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog

from worker.config import Settings
from worker.errors import DiskFull, RejectedImage, TransientFailure
from worker.imagefile.formats import Inspection
from worker.imagefile.identity import Identity
from worker.imagefile.limits import limits_of
from worker.intake.phantoms import is_own_phantom
from worker.intake.problems import Problems
from worker.intake.site_key import SiteKeys
from worker.intake.source import (
    BeingWritten,
    Candidate,
    OpenSource,
    arrival_key,
    fingerprint_of,
    kept_key,
    open_source,
)
from worker.intake.stated import is_side_view
from worker.ledger import erasures, receipts
from worker.ledger.runs import night_of
from worker.ledger.session import Ledger, ledger_time, utc_now
from worker.ledger.states import Lane, Outcome, Source
from worker.recognition import recognise
from worker.store import Area, SourceChanged, Store

log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")

_FIRST_GROUP = 32
_LARGEST_GROUP = 256
# Less than a heartbeat by default, also when the next group has twice as many files.
_LONG_GROUP_S = 2.0
# Files up to this size are read into memory once: nearly every JPEG radiograph.
_READ_WHOLE = 4 * 1024**2
# The sources whose files come from other programs, which may still have them open.
_FROM_OTHERS = {Source.FOLDER, Source.IMPORT}


@dataclass(frozen=True)
class Accepted:
    """The outcome of one accepted or rejected file, as its receipt says."""

    name: str
    receipt_id: int
    image_id: int
    outcome: Outcome
    reason: str | None
    reason_code: str | None


@dataclass(frozen=True)
class _FileFacts:
    """The facts read from a file: its bytes, its hash, its header, and why it is rejected.

    A rejected file has an `inspection` if a person may read its picture.
    """

    content: BinaryIO
    sha256: str
    phantom: bool
    inspection: Inspection | None
    rejection: tuple[str, str] | None
    identity: Identity | None = None


@dataclass(frozen=True)
class _Stored:
    """A file in the store that has no receipt yet; `after` is the status of its source, after it was stored."""

    candidate: Candidate
    after: os.stat_result
    stored_path: Path
    arrival: receipts.Arrival


class _StoreFailed(Exception):  # noqa: N818 - says what happened
    """The image store cannot store a file; the message says why and names no file."""


class Acceptor:
    """Accepts groups of files. Several threads and processes may accept files at the same time."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Keep the settings, the ledger and the store; nothing is opened yet."""
        self._ledger = ledger
        self._store = store
        self._limits = limits_of(settings)
        self._settings = settings
        self._store_made = False
        self.site_keys = SiteKeys(settings, ledger)

    def accept(
        self,
        files: Sequence[Candidate],
        *,
        source: Source,
        lane: Lane,
        run: str | None = None,
        received_by: str | None = None,
        keep_source: bool = False,
        problems: Problems | None = None,
    ) -> list[Accepted]:
        """Store and record a group of files, then remove the sources unless `keep_source` is set.

        A file that vanished, changed while it was read, is open for writing, or cannot be read is skipped; a
        later scan finds it. A file that already has its receipt is skipped too, and its source is removed now.

        `problems` counts the files that wait for their writer, and those that cannot be read or removed.

        Raises:
            TransientFailure: the store, the disk or the database failed. Nothing was recorded, and every
                source still exists.
        """
        problems = problems or Problems()
        self.check_free_space()
        self._check_store()
        at = utc_now()
        if source is Source.FOLDER:
            files = self.remove_recorded(files, problems)
        stored = self._store_all(files, source, received_by, problems, keep_source=keep_source)
        if not stored:
            return []
        with self._ledger.transaction() as session:
            recorded = receipts.record(
                session,
                [item.arrival for item in stored],
                run=run or night_of(datetime.now().astimezone()),
                lane=lane,
                at=at,
            )
            self._check_kept(stored, recorded)
        if not keep_source:
            self._remove_all([(item.candidate, item.after, item.arrival.key) for item in stored], problems)
        self._remove_erased(
            {
                row.image_id: item.arrival.sha256
                for item, row in zip(stored, recorded, strict=True)
                if row and row.erased
            }
        )
        accepted = [
            Accepted(
                item.candidate.name, row.receipt_id, row.image_id, row.outcome, row.reason, row.reason_code
            )
            for item, row in zip(stored, recorded, strict=True)
            if row is not None
        ]
        _log_group(accepted)
        return accepted

    def _remove_erased(self, hashes: Mapping[int, str]) -> None:
        """Remove the bytes of erased images whose files arrived again. If that fails, the sweeper does it later."""
        if not hashes:
            return
        log.warning("files of erased images arrived again; they are not kept", images=list(hashes))
        with suppress(OSError, TransientFailure):
            for sha256 in hashes.values():
                self._store.remove(sha256)
            with self._ledger.transaction() as session:
                erasures.finish(session, hashes, self._is_gone, ledger_time(session))

    def _is_gone(self, sha256: str) -> bool:
        return not self._store.has(sha256)

    def check_free_space(self) -> None:
        """Raise DiskFull when a disk in use is nearly full."""
        free, minimum = self.free_bytes(), self._settings.min_free_bytes
        if free < minimum:
            raise DiskFull(
                f"the disk has {free / 1e6:,.0f} MB left, less than {minimum / 1e6:,.0f} MB: "
                "no file is accepted, and files stay where they are"
            )

    def free_bytes(self) -> int:
        """Return the free bytes on the fullest disk in use."""
        return min(_free_bytes(folder) for folder in (self._settings.store_path, self._settings.data))

    def _check_store(self) -> None:
        """Create the store before the first image; later, raise StoreAway when the store is missing."""
        if not self._store_made:
            with self._ledger.reading() as session:
                is_empty = not receipts.any_image(session)
            if is_empty:
                try:
                    self._store.make()
                except OSError as error:
                    raise TransientFailure(f"the image store cannot be created: {error.strerror}") from error
            self._store_made = True
        self._store.check()

    def _check_kept(
        self, stored: Sequence[_Stored], recorded: Sequence[receipts.RecordedArrival | None]
    ) -> None:
        """Check, before the commit, that the bytes of files that arrived again are still in the store.

        Raises TransientFailure: retention removed them in the meantime. The next try stores them again.
        """
        for item, row in zip(stored, recorded, strict=True):
            if (
                row is not None
                and row.outcome is Outcome.DUPLICATE
                and not self._store.has(item.arrival.sha256)
            ):
                raise TransientFailure("a file arrived again while its older bytes were removed")

    def recorded(self, files: Sequence[Candidate]) -> dict[Candidate, tuple[os.stat_result, str]]:
        """Return the files that are recorded but not yet deleted, each with its current status and its key."""
        statuses = {}
        for candidate in files:
            with suppress(OSError):
                statuses[candidate] = candidate.status()
        keys = [
            (candidate, make_key(candidate.name, status))
            for candidate, status in statuses.items()
            for make_key in (arrival_key, kept_key)
        ]
        with self._ledger.reading() as session:
            keys_with_receipt = receipts.recorded_keys(session, [key for _, key in keys])
        return {candidate: (statuses[candidate], key) for candidate, key in keys if key in keys_with_receipt}

    def remove_recorded(
        self, files: Sequence[Candidate], problems: Problems | None = None
    ) -> list[Candidate]:
        """Delete the files that are already recorded, and return the others."""
        recorded = self.recorded(files)
        found = [(candidate, status, key) for candidate, (status, key) in recorded.items()]
        self._remove_all(found, problems or Problems())
        return [candidate for candidate in files if candidate not in recorded]

    def _remove_all(
        self, recorded: Sequence[tuple[Candidate, os.stat_result, str | None]], problems: Problems
    ) -> None:
        """Delete recorded files. A file that stays gets a key that it keeps when its owner or mode changes."""
        new_keys: dict[str, str | None] = {}
        for candidate, status, key in recorded:
            try:
                error = _remove(candidate, fingerprint_of(status))
            except BeingWritten:
                # The next scan tries again, or accepts the file that it has become.
                problems.held_open(candidate.name)
                continue
            if error is not None:
                problems.unremovable(error)
            kept = kept_key(candidate.name, status) if error is not None else None
            if key is not None and key != kept and (kept or key == kept_key(candidate.name, status)):
                new_keys[key] = kept
        if new_keys:
            with self._ledger.transaction() as session:
                receipts.replace_keys(session, new_keys)

    def _store_all(
        self,
        files: Sequence[Candidate],
        source: Source,
        received_by: str | None,
        problems: Problems,
        *,
        keep_source: bool,
    ) -> list[_Stored]:
        stored = []
        for candidate in files:
            try:
                with open_source(candidate, locked=source is Source.FOLDER) as opened:
                    if source in _FROM_OTHERS:
                        opened.check_writers()
                    facts = self._examine(opened)
                    facts = _with_stated(facts, candidate.stated)
                    item = self._store_one(
                        candidate, opened, facts, source, received_by, link=not keep_source
                    )
            except FileNotFoundError:
                continue
            except BeingWritten:
                problems.held_open(candidate.name)
                continue
            except _StoreFailed as failure:
                raise TransientFailure(f"the image store cannot store a file: {failure}") from failure
            except OSError as error:
                problems.unreadable(error)
                _warn_unreadable(_inode(candidate), str(error.strerror))
                continue
            if item is not None:
                stored.append(item)
        try:
            self._store.sync(item.stored_path for item in stored)
        except OSError as error:
            raise TransientFailure(f"the image store cannot be written to disk: {error}") from error
        return stored

    def _examine(self, opened: OpenSource) -> _FileFacts:
        """Hash and inspect a file. Raises OSError."""
        size = opened.status.st_size
        # Read once, because the header is parsed in small steps. Bytes that are added to the file from now
        # on are ignored: a later scan reads such a file again.
        content = io.BytesIO(opened.file.read(_READ_WHOLE)) if size <= _READ_WHOLE else opened.file
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]  # both are files
        phantom = is_own_phantom(content, self._settings.phantom_key_path)
        content.seek(0)
        recognised = recognise(content, size, self._limits, self.site_keys.key)
        outcome, identity = recognised.outcome, recognised.identity
        if isinstance(outcome, RejectedImage):
            rejection = outcome.code, outcome.sentence
            return _FileFacts(content, sha256, phantom, recognised.readable, rejection, identity)
        return _FileFacts(content, sha256, phantom, outcome, None, identity)

    def _store_one(
        self,
        candidate: Candidate,
        opened: OpenSource,
        facts: _FileFacts,
        source: Source,
        received_by: str | None,
        *,
        link: bool,
    ) -> _Stored | None:
        private = link and opened.make_private()
        area = Area.REJECTED if facts.rejection else Area.IMAGES
        try:
            stored_path = self._store.put(
                facts.content, facts.sha256, area, inode=opened.file.fileno() if private else None
            )
        except SourceChanged:
            stored_path = None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _StoreFailed(error.strerror) from error
        after = opened.current_status()
        if stored_path is None or fingerprint_of(opened.status) != fingerprint_of(after):
            log.info("a file changed while it was read; a later scan reads it again")
            return None
        image = facts.inspection
        arrival = receipts.Arrival(
            source=source,
            original_name=readable_name(candidate.name),
            key=arrival_key(candidate.name, after) if source is Source.FOLDER else None,
            sha256=facts.sha256,
            bytes=after.st_size,
            format=image.format if image else None,
            width=image.width if image else None,
            height=image.height if image else None,
            phantom=facts.phantom,
            rejection=facts.rejection,
            received_by=received_by,
            identity=facts.identity,
        )
        return _Stored(candidate, after, stored_path, arrival)


def in_groups(items: Iterable[_Item]) -> Iterator[Sequence[_Item]]:
    """Cut files into groups for `accept`: small groups first, so that the workers can start soon.

    Later groups are larger, because a commit takes as long for many files as for few. After a group that took long, they
    are smaller: a caller reports between two groups, and stops. No more files are taken from `items` than the next group
    needs.
    """
    remaining, size = iter(items), _FIRST_GROUP
    while group := list(islice(remaining, size)):
        began = time.monotonic()
        yield group
        took_long = time.monotonic() - began > _LONG_GROUP_S
        size = max(1, size // 2) if took_long else min(2 * size, _LARGEST_GROUP)


def _log_group(accepted: Sequence[Accepted]) -> None:
    """Log the ids of the images by outcome; no file names, because one may contain the name of a patient."""
    ids_by_outcome = {
        outcome.value: [a.image_id for a in accepted if a.outcome is outcome] for outcome in Outcome
    }
    if accepted:
        log.info("accepted files", **{outcome: ids for outcome, ids in ids_by_outcome.items() if ids})


def _free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk that holds this folder, or will hold it."""
    for ancestor in (folder, *folder.parents):
        with suppress(FileNotFoundError):
            return shutil.disk_usage(ancestor).free
    raise DiskFull(f"no disk was found for {folder}")


def readable_name(name: str) -> str:
    """Return a file name as text for any database: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def _with_stated(facts: _FileFacts, stated: Identity | None) -> _FileFacts:
    """Add what a form or a sidecar states, unless the file says itself whose image it is."""
    if stated is None or facts.identity is not None:
        return facts
    facts = replace(facts, identity=stated)
    if facts.rejection or not is_side_view(stated.view):
        return facts
    refused = RejectedImage("stated_view", view=stated.view)
    return replace(facts, rejection=(refused.code, refused.sentence))


@lru_cache(maxsize=1_000)
def _warn_unreadable(inode: int, error: str) -> None:
    """Log once for each file, not on each scan; by inode, because a name may contain the name of a patient."""
    log.warning("a file cannot be read; it stays where it is", inode=inode, error=error)


def _inode(candidate: Candidate) -> int:
    try:
        return candidate.status().st_ino
    except OSError:
        return 0


def _remove(candidate: Candidate, fingerprint: tuple[int, ...]) -> OSError | None:
    """Delete an accepted file, unless another file has replaced it, and return the error if it cannot be deleted.

    Raises BeingWritten.
    """
    try:
        candidate.remove(fingerprint)
    except FileNotFoundError:
        return None
    except OSError as error:
        # The file is recorded: the next scan recognises it and tries to delete it again.
        _warn_unremovable(fingerprint, str(error.strerror))
        return error
    return None


@lru_cache(maxsize=1_000)
def _warn_unremovable(_fingerprint: tuple[int, ...], error: str) -> None:
    """Log once for each file, not on each scan."""
    log.warning("an accepted file cannot be deleted from its folder", error=error)
