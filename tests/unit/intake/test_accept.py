"""`accept` with one group of files; tests/integration tests crashes at each step."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy.orm import Session

from tests.conftest import make_settings
from tests.files import jpeg
from tests.filling import assert_consistent, image
from tests.ledgers import current_ledger
from worker.config import Settings
from worker.errors import DiskFull, StoreAway, TransientFailure
from worker.intake.accept import Accepted, Acceptor, in_groups, readable_name
from worker.intake.source import Candidate
from worker.ledger import receipts, reports
from worker.ledger.states import Lane, Outcome, Source
from worker.ledger.tables import Receipt
from worker.store import Store, open_store


class Intake:
    """An inbox and an acceptor on SQLite."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.inbox = settings, settings.inbox
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.ledger = current_ledger(settings.database)
        self.store: Store = open_store(settings)
        self.acceptor = Acceptor(settings, self.ledger, self.store)

    def file(self, name: str, data: bytes) -> Path:
        path = self.inbox / name
        path.write_bytes(data)
        return path

    def accept(
        self, *paths: Path, source: Source = Source.FOLDER, keep_source: bool = False
    ) -> list[Accepted]:
        files = [Candidate(path, path.name) for path in paths]
        return self.acceptor.accept(files, source=source, lane=Lane.OVERNIGHT, keep_source=keep_source)

    def during_the_commit(self, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
        """Call `happens` once, between the commit and the removal of the source."""
        transaction, remaining = self.ledger.transaction, [happens]

        @contextmanager
        def interrupted() -> Iterator[Session]:
            with transaction() as session:
                yield session
                if remaining:
                    remaining.pop()()

        monkeypatch.setattr(self.ledger, "transaction", interrupted)


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    new = Intake(make_settings(tmp_path / "data"))
    yield new
    new.ledger.close()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.jpg", "plain.jpg"),
        ("Müller 胸部.jpg", "Müller 胸部.jpg"),
        (os.fsdecode(b"M\xfcller.jpg"), "M\\xfcller.jpg"),
        ("two\nlines.jpg", "two\nlines.jpg"),
        ("nul\x00.jpg", "nul\\x00.jpg"),
    ],
)
def test_names_become_text_that_every_database_stores(name: str, shown: str) -> None:
    assert readable_name(name) == shown
    readable_name(name).encode()


def test_an_accepted_file_moves_from_inbox_to_store(intake: Intake) -> None:
    path = intake.file("a.jpg", jpeg())
    (accepted,) = intake.accept(path)
    stored = image(intake.ledger, accepted.image_id)
    assert (accepted.outcome, stored.format, stored.width, stored.height) == (Outcome.NEW, "jpeg", 120, 100)
    assert intake.store.read(stored.sha256) == jpeg()
    assert not path.exists()


def test_a_rejected_file_is_stored_in_the_rejected_area(intake: Intake) -> None:
    (accepted,) = intake.accept(intake.file("a.jpg", b"Dear colleague"))
    stored = image(intake.ledger, accepted.image_id)
    assert (accepted.outcome, stored.state, stored.reason_code) == (
        Outcome.REJECTED,
        "rejected",
        "not_an_image",
    )
    assert intake.store.path(stored.sha256).is_relative_to(intake.store.root / "turned-away")
    assert intake.store.read(stored.sha256) == b"Dear colleague"


def test_one_inode_with_two_names_counts_as_two_files(intake: Intake) -> None:
    first = intake.file("a.jpg", jpeg())
    second = intake.inbox / "b.jpg"
    os.link(first, second)
    outcomes = [accepted.outcome for accepted in intake.accept(first, second)]
    assert outcomes == [Outcome.NEW, Outcome.DUPLICATE]
    assert not list(intake.inbox.iterdir())
    assert assert_consistent(intake.ledger).received == 2


def test_a_file_with_a_second_hard_link_is_copied(intake: Intake, tmp_path: Path) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(jpeg())
    os.link(original, intake.inbox / "a.jpg")
    (accepted,) = intake.accept(intake.inbox / "a.jpg")
    original.write_bytes(b"drawn over")
    assert intake.store.read(image(intake.ledger, accepted.image_id).sha256) == jpeg()


def test_a_newer_file_of_the_same_name_is_not_removed(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = intake.file("a.jpg", jpeg(1))
    newer = intake.file("newer.part", jpeg(2))
    with monkeypatch.context() as patch:
        intake.during_the_commit(patch, lambda: newer.replace(path) if newer.exists() else None)
        intake.accept(path)
    assert path.read_bytes() == jpeg(2), "it was never read, so removing it would lose it"
    (accepted,) = intake.accept(path)
    assert accepted.outcome is Outcome.NEW
    assert assert_consistent(intake.ledger).images == 2


def test_a_file_that_is_opened_for_writing_meanwhile_is_not_removed(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = intake.file("a.jpg", jpeg(1))
    # A file with two names is copied into the store.
    os.link(path, tmp_path / "second name")
    with ExitStack() as writers, monkeypatch.context() as patch:
        intake.during_the_commit(patch, lambda: writers.enter_context(path.open("r+b")))
        intake.accept(path)
        assert path.exists(), "what the writer writes next would be lost with the name"
        path.write_bytes(jpeg(2))
    (accepted,) = intake.accept(path)
    assert accepted.outcome is Outcome.NEW
    assert not path.exists()
    assert assert_consistent(intake.ledger).images == 2


@pytest.mark.parametrize("way", ["overwritten", "replaced"])
def test_a_file_that_changes_while_read_is_left(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # Where the system has leases, a writer waits until the file is accepted.
    monkeypatch.setattr("worker.intake.source._take_lease", lambda _handle: False)
    path = intake.file("a.jpg", jpeg(1))
    put = intake.store.put

    def put_late(*args: object, **more: object) -> None:
        if way == "replaced":
            intake.file("b.part", jpeg(2)).replace(path)
        put(*args, **more)  # type: ignore[arg-type]
        if way == "overwritten":
            path.write_bytes(jpeg(2))

    with monkeypatch.context() as patch:
        patch.setattr(intake.store, "put", put_late)
        assert intake.accept(path) == []
    assert path.read_bytes() == jpeg(2)
    intake.accept(path)
    # The first attempt may have left other bytes in the store under the first hash.
    (accepted,) = intake.accept(intake.file("again.jpg", jpeg(1)))
    assert accepted.outcome is Outcome.NEW
    assert intake.store.read(image(intake.ledger, accepted.image_id).sha256) == jpeg(1)
    assert assert_consistent(intake.ledger).received == 2


def test_an_unreadable_file_stays_and_others_are_accepted(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No permission, a bad sector, a share that is gone, a symbolic link.
    really_open = os.open
    bad, good = intake.file("bad.jpg", jpeg(1)), intake.file("good.jpg", jpeg(2))

    def fails(path: os.PathLike[str], *args: int, **more: int) -> int:
        if Path(path).name == bad.name:
            raise OSError(number, os.strerror(number))
        return really_open(path, *args, **more)

    monkeypatch.setattr(os, "open", fails)
    for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP):
        good.write_bytes(jpeg(number))
        (accepted,) = intake.accept(bad, good)
        assert accepted.name == "good.jpg"
        assert bad.exists()
    assert assert_consistent(intake.ledger).received == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_every_source_stays_when_the_store_fails(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(source: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(source))

    paths = [intake.file(f"{n} of Jane Roe.jpg", jpeg(n)) for n in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(TransientFailure) as failure:
            intake.accept(*paths)
    assert "Jane" not in str(failure.value), "the log must hold no names"
    assert all(path.exists() for path in paths)
    assert assert_consistent(intake.ledger).received == 0
    assert len(intake.accept(*paths)) == 3


def test_a_store_that_is_a_file_is_a_transient_failure(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    intake = Intake(make_settings(tmp_path / "data", store=str(tmp_path / "store")))
    path = intake.file("a.jpg", jpeg())
    with pytest.raises(TransientFailure):
        intake.accept(path)
    assert path.exists()
    intake.ledger.close()


def test_no_file_is_accepted_while_the_disk_is_nearly_full(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, free = intake.file("a.jpg", jpeg()), [499_999_999]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free[0]))
    with pytest.raises(DiskFull, match="the disk has 500 MB left, less than 500 MB: no file is accepted"):
        intake.accept(path)
    assert path.exists()
    assert assert_consistent(intake.ledger).received == 0
    free[0] = 500_000_000
    assert [accepted.outcome for accepted in intake.accept(path)] == [Outcome.NEW]


def test_no_file_is_accepted_while_the_store_is_missing(intake: Intake, tmp_path: Path) -> None:
    """A file in the empty mount point of a share would be hidden once the share is mounted again."""
    intake.accept(intake.file("a.jpg", jpeg(1)))
    path = intake.file("b.jpg", jpeg(2))
    intake.store.root.rename(tmp_path / "away")
    intake.store.root.mkdir()
    for running_or_restarted in (intake, Intake(intake.settings)):
        with pytest.raises(StoreAway, match="the image store is out of reach"):
            running_or_restarted.accept(path)
    assert path.exists()
    assert list(intake.store.root.iterdir()) == []
    intake.store.root.rmdir()
    (tmp_path / "away").rename(intake.store.root)
    assert [accepted.outcome for accepted in intake.accept(path)] == [Outcome.NEW]
    assert assert_consistent(intake.ledger).received == 2


def test_every_source_stays_when_the_database_fails(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise TransientFailure("locked")

    path = intake.file("a.jpg", jpeg())
    with monkeypatch.context() as patch:
        intake.during_the_commit(patch, fails)
        with pytest.raises(TransientFailure):
            intake.accept(path)
    assert path.exists()
    assert assert_consistent(intake.ledger).received == 0
    assert [accepted.outcome for accepted in intake.accept(path)] == [Outcome.NEW]


def test_a_recorded_file_gets_no_second_receipt(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    path = intake.file("a.jpg", jpeg())
    with monkeypatch.context() as patch:
        patch.setattr(Candidate, "remove", lambda *_: None)
        assert len(intake.accept(path)) == 1
    assert path.exists()
    assert intake.accept(path) == []
    assert not path.exists()
    assert assert_consistent(intake.ledger).received == 1


def test_an_undeletable_source_is_read_and_logged_once(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A read-only inbox is scanned every two seconds, all night."""
    paths = [intake.file(f"{n}.jpg", jpeg(n)) for n in range(3)]
    digest = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", digest)

    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Candidate, "remove", refuses)
        assert [len(intake.accept(*paths)) for _ in range(4)] == [3, 0, 0, 0]
    assert digest.call_count == 3
    assert capsys.readouterr().out.count("cannot be deleted") == 3
    paths[0].write_bytes(jpeg(7))
    assert [item.name for item in intake.accept(*paths)] == ["0.jpg"], "its new content is another arrival"
    assert not any(path.exists() for path in paths)
    assert assert_consistent(intake.ledger).received == 4


def test_a_recorded_file_is_recognised_after_a_remount(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = intake.file("a.jpg", jpeg())
    stat = os.stat

    def elsewhere(*names: object, **more: object) -> os.stat_result:
        status = stat(*names, **more)  # type: ignore[arg-type]
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:]), _all(status))

    with monkeypatch.context() as patch:
        patch.setattr(Candidate, "remove", lambda *_: None)
        assert len(intake.accept(path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", elsewhere)
        assert intake.accept(path) == []
    assert assert_consistent(intake.ledger).received == 1


def _all(status: os.stat_result) -> dict[str, int]:
    names = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
    return {name: getattr(status, name) for name in names}


def test_the_same_file_dropped_again_is_a_new_arrival(intake: Intake, tmp_path: Path) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(jpeg())
    for outcome in (Outcome.NEW, Outcome.DUPLICATE, Outcome.DUPLICATE):
        # With the same times and name: only the change time of the inode differs.
        shutil.copy2(original, intake.inbox / "a.jpg")
        assert [accepted.outcome for accepted in intake.accept(intake.inbox / "a.jpg")] == [outcome]
    assert assert_consistent(intake.ledger).received == 3


def test_file_that_arrives_again_while_its_bytes_are_removed_is_stored_again(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention may remove the older bytes after the store was asked for them, and before the receipt is recorded."""
    intake.accept(intake.file("a.jpg", jpeg()))
    sha256 = hashlib.sha256(jpeg()).hexdigest()
    record = receipts.record

    def removed_before(*args: object, **more: object) -> object:
        intake.store.remove(sha256)
        return record(*args, **more)  # type: ignore[arg-type]

    again = intake.file("again.jpg", jpeg())
    with monkeypatch.context() as patched:
        patched.setattr(receipts, "record", removed_before)
        with pytest.raises(TransientFailure):
            intake.accept(again)
    assert again.exists()
    (accepted,) = intake.accept(again)
    assert accepted.outcome is Outcome.DUPLICATE
    assert intake.store.read(sha256) == jpeg()
    assert not again.exists()


def test_links_pipes_and_folders_are_never_read(intake: Intake, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    link, fifo, folder = intake.inbox / "link.jpg", intake.inbox / "fifo.jpg", intake.inbox / "folder.jpg"
    link.symlink_to(tmp_path / "secret.jpg")
    os.mkfifo(fifo)
    folder.mkdir()
    assert intake.accept(link, fifo, folder, intake.inbox / "gone.jpg") == []
    assert link.is_symlink()
    assert fifo.exists()
    assert list(intake.store.hashes()) == []
    assert assert_consistent(intake.ledger).received == 0


def test_an_import_copies_and_keeps_its_sources(intake: Intake, tmp_path: Path) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(jpeg())
    (accepted,) = intake.accept(original, source=Source.IMPORT, keep_source=True)
    with original.open("r+b") as file:
        file.write(b"drawn over")
    assert intake.store.read(image(intake.ledger, accepted.image_id).sha256) == jpeg()
    assert original.exists()


def test_a_receipt_names_the_source_of_the_file(intake: Intake) -> None:
    (accepted,) = intake.accept(intake.file("two\nlines.jpg", jpeg()), source=Source.UPLOAD)
    with intake.ledger.reading() as session:
        (receipt,) = reports.receipts(session, [accepted.receipt_id])
        assert isinstance(receipt, Receipt)
        assert (receipt.source, receipt.original_name, receipt.arrival) == ("upload", "two\nlines.jpg", None)


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,  # noqa: PTH116, S108
    reason="needs two file systems",
)
def test_a_store_on_another_device_gets_a_copy(tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"nightread-test-{os.getpid()}"  # noqa: S108
    intake = Intake(make_settings(tmp_path / "data", store=str(store)))
    try:
        (accepted,) = intake.accept(intake.file("a.jpg", jpeg()))
        stored = image(intake.ledger, accepted.image_id)
        assert intake.store.read(stored.sha256) == jpeg()
        assert [path.name for path in store.rglob("*") if path.is_file()] == [stored.sha256]
        assert not list(intake.inbox.iterdir())
    finally:
        shutil.rmtree(store)
        intake.ledger.close()


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1_000])
def test_groups_keep_the_order_and_start_small(count: int) -> None:
    groups = list(in_groups(range(count)))
    assert [item for group in groups for item in group] == list(range(count))
    assert [len(group) for group in groups[:2]] == [32, 64][: len(groups)] or count < 96
    assert all(0 < len(group) <= 256 for group in groups)


def test_groups_are_smaller_while_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher reports between two groups. A group of large files on a slow disk could take minutes."""
    now, sizes = time.monotonic(), list[int]()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for group in in_groups(range(500)):
        sizes.append(len(group))
        # The first 66 files take a second each.
        now += len(group) if sum(sizes) <= 66 else 0.0
    assert sizes[:6] == [32, 16, 8, 4, 2, 4]
    assert max(sizes[6:]) > 32


def test_groups_take_no_more_files_than_they_need() -> None:
    """A full inbox is not looked through before its first images are scored."""
    files = iter(range(1_000))
    next(in_groups(files))
    assert next(files) == 32
