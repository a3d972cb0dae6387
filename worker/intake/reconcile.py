"""Compares the image store, the ledger and the inbox, and repairs what a crash or a restored backup left.

No repair deletes the only copy of any bytes. A repair accepts stored files that have no image. It deletes
unfinished copies, broken uploads whose sender got no answer, and inbox files that have their receipt. A repair
can run beside the other processes, and a second run changes nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from worker.config import Settings
from worker.folders import Place, readable_by_others
from worker.intake.accept import Acceptor, in_groups
from worker.intake.source import Candidate
from worker.intake.watcher import clutter_below, files_below
from worker.ledger.maintenance import CheckResult
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Lane, Source
from worker.ledger.tables import Image
from worker.store import Store

# A process that accepts a file commits within this time after it stored the file.
COMMIT_WITHIN_S = 60.0
# An upload or a copy that has not changed for this long is no longer being written.
ABANDONED_S = 3600.0


@dataclass(frozen=True)
class _Difference:
    """`missing`: hash -> id of an image whose file the store lacks although nobody removed it; `orphans`: stored hashes that no image has."""

    missing: dict[str, int]
    orphans: list[str]


class Reconciler:
    """Compares store, ledger and inbox, and applies the repairs that need no person."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Keep the settings, the ledger and the store; nothing is read yet."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._acceptor = Acceptor(settings, ledger, store)

    def compare(self, *, read_bytes: bool = False) -> list[CheckResult]:
        """Return the result of each comparison; `read_bytes` also hashes every stored file again, which takes long."""
        difference = self._difference()
        missing = [f"image {image_id}" for image_id in difference.missing.values()]
        orphans = self._without_source(difference.orphans)
        recorded = [
            candidate.name for group in self._inbox_groups() for candidate in self._acceptor.recorded(group)
        ]
        results = [
            CheckResult(
                not missing, f"{len(missing)} images whose bytes are missing in the image store", missing
            ),
            CheckResult(not orphans, f"{len(orphans)} stored files without an image", orphans),
            CheckResult(
                ok=True,
                summary=f"{len(recorded)} files in the inbox that already have a receipt",
                names=recorded,
            ),
            _named(
                clutter_below(self._settings.inbox, self._settings.ignore),
                "files and folders of other programs that are left alone in the inbox",
            ),
            _named(
                [str(path) for path in readable_by_others(self._own_places())],
                "of Nightread's folders and files that other users of this machine can read",
            ),
            _leftovers(self._unfinished(), "unfinished copies in the image store"),
            _leftovers(abandoned_uploads(self._settings), "interrupted uploads"),
        ]
        return [*results, self._changed()] if read_bytes else results

    def repair(self) -> list[str]:
        """Apply all safe repairs, and return a sentence for each kind of repair. Raises TransientFailure."""
        accepted = self._accept_orphans(self._without_source(self._difference().orphans))
        removed = sum(
            len(group) - len(self._acceptor.remove_recorded(group)) for group in list(self._inbox_groups())
        )
        copies = _remove(self._unfinished())
        uploads = _remove(abandoned_uploads(self._settings))
        repairs = {
            f"{accepted} stored files accepted": accepted,
            f"{removed} files with a receipt removed from the inbox": removed,
            f"{copies} unfinished copies removed": copies,
            f"{uploads} interrupted uploads removed": uploads,
        }
        return [sentence for sentence, count in repairs.items() if count]

    def _difference(self) -> _Difference:
        with self._ledger.reading() as session:
            columns = Image.sha256, Image.id, Image.state, Image.bytes_removed_at
            rows = session.execute(select(*columns).execution_options(yield_per=5_000)).all()
        ids_by_hash = {row.sha256: row.id for row in rows}
        removed = {row.sha256 for row in rows if row.state == ImageState.ERASED or row.bytes_removed_at}
        # Listed after the snapshot, because a file that arrives now is stored before it is recorded.
        stored = set(self._store.hashes())
        return _Difference(
            {sha256: i for sha256, i in ids_by_hash.items() if sha256 not in stored | removed},
            sorted(stored - ids_by_hash.keys()),
        )

    def _without_source(self, hashes: Sequence[str]) -> list[str]:
        """Return the hashes that no process is about to record and that have no source in the inbox.

        After a crash between store and commit, the source is still in the inbox, and is accepted from there.
        Such a source is recognised by its size. A wrong match only delays a repair to the next run.
        """
        source_sizes = set()
        for path in self._sources() if hashes else ():
            # Another process may have accepted the file in the meantime.
            with suppress(FileNotFoundError):
                source_sizes.add(path.stat().st_size)
        latest = time.time() - COMMIT_WITHIN_S
        orphans = []
        for sha256 in hashes:
            with suppress(OSError):
                status = self._store.path(sha256).stat()
                if status.st_size not in source_sizes and status.st_ctime <= latest:
                    orphans.append(sha256)
        with self._ledger.reading() as session:
            recorded = {
                sha256
                for group in in_groups(orphans)
                for sha256 in session.scalars(select(Image.sha256).where(Image.sha256.in_(group)))
            }
        return [sha256 for sha256 in orphans if sha256 not in recorded]

    def _accept_orphans(self, hashes: Sequence[str]) -> int:
        """Record stored files as new arrivals. Their name is made from the hash, since the old name is lost."""
        intact = [sha256 for sha256 in hashes if self._hash_of(sha256) == sha256]
        count = 0
        for group in in_groups(intact):
            files = [Candidate(self._store.path(sha256), f"recovered-{sha256[:16]}") for sha256 in group]
            count += len(
                self._acceptor.accept(files, source=Source.RECOVERED, lane=Lane.OVERNIGHT, keep_source=True)
            )
        return count

    def _changed(self) -> CheckResult:
        with self._ledger.reading() as session:
            images = session.execute(select(Image.sha256, Image.id).order_by(Image.id)).all()
        changed = [f"image {row.id}" for row in images if self._hash_of(row.sha256) not in {row.sha256, None}]
        return CheckResult(not changed, f"{len(changed)} images whose stored bytes have changed", changed)

    def _hash_of(self, sha256: str) -> str | None:
        """Return the actual hash of the bytes stored under a hash; None when they cannot be read."""
        try:
            with self._store.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    def _inbox_groups(self) -> Iterator[Sequence[Candidate]]:
        return in_groups(files_below(self._settings.inbox, self._settings.ignore))

    def _own_places(self) -> list[Place]:
        """Return the places without the inbox, whose mode the administrator chooses, and the model, which is public."""
        public = {self._settings.inbox, self._settings.model}
        return [place for place in self._settings.places if place.path not in public]

    def _sources(self) -> Iterator[Path]:
        for folder in (self._settings.inbox, self._settings.incoming):
            yield from (candidate.path for candidate in files_below(folder))

    def _unfinished(self) -> list[Path]:
        return [path for path in self._store.unfinished() if _is_abandoned(path)]


def abandoned_uploads(settings: Settings) -> list[Path]:
    """Return uploads that broke off; their sender got no answer."""
    return [file.path for file in files_below(settings.incoming) if _is_abandoned(file.path)]


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:
        return False


def _leftovers(paths: Sequence[Path], kind: str) -> CheckResult:
    return _named([path.name for path in paths], kind)


def _named(names: Sequence[str], kind: str) -> CheckResult:
    return CheckResult(ok=True, summary=f"{len(names)} {kind}", names=names)


def _remove(paths: Sequence[Path]) -> int:
    removed = 0
    for path in paths:
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed
