"""What `accept` promises of one group of files; the crash points are in tests/integration."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from sqlalchemy.orm import Session

from tests.conftest import make_settings
from tests.files import jpeg
from tests.filling import assert_whole, image
from tests.ledgers import current_ledger
from worker.config import Settings
from worker.errors import DiskFull, StoreAway, TransientFailure
from worker.intake.accept import Accepted, Acceptor, Candidate, in_groups, readable_name
from worker.ledger import reports
from worker.ledger.states import Lane, Outcome, Source
from worker.ledger.tables import Receipt
from worker.store import Store, open_store


class Place:
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
        """Have something happen between the store and the removal of the source."""
        transaction = self.ledger.transaction

        @contextmanager
        def interrupted() -> Iterator[Session]:
            with transaction() as session:
                yield session
                happens()

        monkeypatch.setattr(self.ledger, "transaction", interrupted)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(make_settings(tmp_path / "data"))
    yield made
    made.ledger.close()


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
def test_a_name_is_kept_as_text_that_every_database_stores(name: str, shown: str) -> None:
    assert readable_name(name) == shown
    readable_name(name).encode()


def test_what_is_taken_in_lies_in_the_store_and_no_longer_in_the_inbox(place: Place) -> None:
    path = place.file("a.jpg", jpeg())
    (taken,) = place.accept(path)
    kept = image(place.ledger, taken.image_id)
    assert (taken.outcome, kept.format, kept.width, kept.height) == (Outcome.NEW, "jpeg", 120, 100)
    assert place.store.read(kept.sha256) == jpeg()
    assert not path.exists()


def test_what_is_turned_away_is_kept_apart_and_can_be_looked_at(place: Place) -> None:
    (taken,) = place.accept(place.file("a.jpg", b"Dear colleague"))
    kept = image(place.ledger, taken.image_id)
    assert (taken.outcome, kept.state, kept.reason_code) == (Outcome.REJECTED, "rejected", "not_an_image")
    assert place.store.path(kept.sha256).is_relative_to(place.store.root / "turned-away")
    assert place.store.read(kept.sha256) == b"Dear colleague"


def test_one_inode_under_two_names_is_two_files(place: Place) -> None:
    first = place.file("a.jpg", jpeg())
    second = place.inbox / "b.jpg"
    os.link(first, second)
    outcomes = [taken.outcome for taken in place.accept(first, second)]
    assert outcomes == [Outcome.NEW, Outcome.DUPLICATE]
    assert not list(place.inbox.iterdir())
    assert assert_whole(place.ledger).received == 2


def test_a_file_that_has_a_name_elsewhere_is_copied_so_that_no_change_there_reaches_the_store(
    place: Place, tmp_path: Path
) -> None:
    theirs = tmp_path / "original.jpg"
    theirs.write_bytes(jpeg())
    os.link(theirs, place.inbox / "a.jpg")
    (taken,) = place.accept(place.inbox / "a.jpg")
    theirs.write_bytes(b"drawn over")
    assert place.store.read(image(place.ledger, taken.image_id).sha256) == jpeg()


def test_a_file_that_comes_under_the_same_name_meanwhile_is_not_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.file("a.jpg", jpeg(1))
    newer = place.file("newer.part", jpeg(2))
    with monkeypatch.context() as patch:
        place.during_the_commit(patch, lambda: newer.replace(path) if newer.exists() else None)
        place.accept(path)
    assert path.read_bytes() == jpeg(2), "it was never read: removing it would lose it"
    (taken,) = place.accept(path)
    assert taken.outcome is Outcome.NEW
    assert assert_whole(place.ledger).images == 2


@pytest.mark.parametrize("way", ["overwritten", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_left_and_harms_no_later_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path = place.file("a.jpg", jpeg(1))
    put = place.store.put

    def put_late(*args: object, **more: object) -> None:
        if way == "replaced":
            place.file("b.part", jpeg(2)).replace(path)
        put(*args, **more)  # type: ignore[arg-type]
        if way == "overwritten":
            path.write_bytes(jpeg(2))

    with monkeypatch.context() as patch:
        patch.setattr(place.store, "put", put_late)
        assert place.accept(path) == []
    assert path.read_bytes() == jpeg(2)
    place.accept(path)
    # What the first look left in the store under the first hash is not what has this hash.
    (taken,) = place.accept(place.file("again.jpg", jpeg(1)))
    assert taken.outcome is Outcome.NEW
    assert place.store.read(image(place.ledger, taken.image_id).sha256) == jpeg(1)
    assert assert_whole(place.ledger).received == 2


def test_a_file_that_cannot_be_read_stays_and_the_others_are_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Opening a file without permission, on a bad sector or on a share that is gone.
    really_open = os.open
    bad, good = place.file("bad.jpg", jpeg(1)), place.file("good.jpg", jpeg(2))

    def fails(path: os.PathLike[str], *args: int, **more: int) -> int:
        if Path(path) == bad:
            raise OSError(number, os.strerror(number))
        return really_open(path, *args, **more)

    monkeypatch.setattr(os, "open", fails)
    for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP):
        good.write_bytes(jpeg(number))
        (taken,) = place.accept(bad, good)
        assert taken.name == "good.jpg"
        assert bad.exists()
    assert assert_whole(place.ledger).received == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_take_a_file_is_a_transient_failure_and_every_source_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(source: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(source))

    paths = [place.file(f"{n} of Jane Roe.jpg", jpeg(n)) for n in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(TransientFailure) as failure:
            place.accept(*paths)
    assert "Jane" not in str(failure.value), "the log holds no names"
    assert all(path.exists() for path in paths)
    assert assert_whole(place.ledger).received == 0
    assert len(place.accept(*paths)) == 3


def test_a_store_that_is_a_file_is_a_transient_failure(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    place = Place(make_settings(tmp_path / "data", store=str(tmp_path / "store")))
    path = place.file("a.jpg", jpeg())
    with pytest.raises(TransientFailure):
        place.accept(path)
    assert path.exists()
    place.ledger.close()


def test_a_disk_that_is_nearly_full_takes_nothing_until_there_is_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, free = place.file("a.jpg", jpeg()), [499_999_999]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free[0]))
    with pytest.raises(DiskFull, match="the disk has 500 MB left, less than 500 MB: no file is accepted"):
        place.accept(path)
    assert path.exists()
    assert assert_whole(place.ledger).received == 0
    free[0] = 500_000_000
    assert [taken.outcome for taken in place.accept(path)] == [Outcome.NEW]


def test_a_store_that_is_gone_takes_nothing_until_it_is_back(place: Place, tmp_path: Path) -> None:
    """What went into the empty mount point of a share would be hidden once the share is back."""
    place.accept(place.file("a.jpg", jpeg(1)))
    path = place.file("b.jpg", jpeg(2))
    place.store.root.rename(tmp_path / "away")
    place.store.root.mkdir()
    for place_or_its_successor in (place, Place(place.settings)):
        with pytest.raises(StoreAway, match="the image store is out of reach"):
            place_or_its_successor.accept(path)
    assert path.exists()
    assert list(place.store.root.iterdir()) == []
    place.store.root.rmdir()
    (tmp_path / "away").rename(place.store.root)
    assert [taken.outcome for taken in place.accept(path)] == [Outcome.NEW]
    assert assert_whole(place.ledger).received == 2


def test_a_database_that_fails_leaves_every_source(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise TransientFailure("locked")

    path = place.file("a.jpg", jpeg())
    with monkeypatch.context() as patch:
        place.during_the_commit(patch, fails)
        with pytest.raises(TransientFailure):
            place.accept(path)
    assert path.exists()
    assert assert_whole(place.ledger).received == 0
    assert [taken.outcome for taken in place.accept(path)] == [Outcome.NEW]


def test_a_source_that_was_recorded_but_not_removed_has_no_second_receipt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.file("a.jpg", jpeg())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        assert len(place.accept(path)) == 1
    assert path.exists()
    assert place.accept(path) == []
    assert not path.exists()
    assert assert_whole(place.ledger).received == 1


def test_a_source_that_cannot_be_removed_is_read_once_and_warned_of_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A read-only inbox is looked at every other second, all night."""
    paths = [place.file(f"{n}.jpg", jpeg(n)) for n in range(3)]
    digest = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", digest)

    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuses)
        assert [len(place.accept(*paths)) for _ in range(4)] == [3, 0, 0, 0]
    assert digest.call_count == 3
    assert capsys.readouterr().out.count("cannot be deleted") == 3
    paths[0].write_bytes(jpeg(7))
    assert [item.name for item in place.accept(*paths)] == ["0.jpg"], "what is in it now is another arrival"
    assert not any(path.exists() for path in paths)
    assert assert_whole(place.ledger).received == 4


def test_a_source_that_was_recorded_is_known_again_after_its_disk_was_mounted_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.file("a.jpg", jpeg())
    lstat = Path.lstat

    def elsewhere(path: Path) -> os.stat_result:
        status = lstat(path)
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:]), _all(status))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        assert len(place.accept(path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", elsewhere)
        patch.setattr(os, "fstat", lambda _: elsewhere(path))
        assert path.lstat().st_dev == lstat(path).st_dev + 1
        assert place.accept(path) == []
    assert assert_whole(place.ledger).received == 1


def _all(status: os.stat_result) -> dict[str, int]:
    names = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
    return {name: getattr(status, name) for name in names}


def test_the_same_file_dropped_again_is_an_arrival_of_its_own(place: Place, tmp_path: Path) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(jpeg())
    for outcome in (Outcome.NEW, Outcome.DUPLICATE, Outcome.DUPLICATE):
        # With its times, and under the same name: only the inode's change time tells them apart.
        shutil.copy2(original, place.inbox / "a.jpg")
        assert [taken.outcome for taken in place.accept(place.inbox / "a.jpg")] == [outcome]
    assert assert_whole(place.ledger).received == 3


def test_what_is_no_file_is_never_read(place: Place, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    link, fifo, folder = place.inbox / "link.jpg", place.inbox / "fifo.jpg", place.inbox / "folder.jpg"
    link.symlink_to(tmp_path / "secret.jpg")
    os.mkfifo(fifo)
    folder.mkdir()
    assert place.accept(link, fifo, folder, place.inbox / "gone.jpg") == []
    assert link.is_symlink()
    assert fifo.exists()
    assert list(place.store.hashes()) == []
    assert assert_whole(place.ledger).received == 0


def test_an_import_keeps_its_sources_and_shares_nothing_with_them(place: Place, tmp_path: Path) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(jpeg())
    (taken,) = place.accept(original, source=Source.IMPORT, keep_source=True)
    with original.open("r+b") as file:
        file.write(b"drawn over")
    assert place.store.read(image(place.ledger, taken.image_id).sha256) == jpeg()
    assert original.exists()


def test_a_receipt_tells_where_a_file_came_from(place: Place) -> None:
    (taken,) = place.accept(place.file("two\nlines.jpg", jpeg()), source=Source.UPLOAD)
    with place.ledger.reading() as session:
        (receipt,) = reports.receipts(session, [taken.receipt_id])
        assert isinstance(receipt, Receipt)
        assert (receipt.source, receipt.original_name, receipt.arrival) == ("upload", "two\nlines.jpg", None)


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,  # noqa: PTH116, S108
    reason="needs two file systems",
)
def test_a_store_on_another_device_gets_a_copy(tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"nightread-test-{os.getpid()}"  # noqa: S108
    place = Place(make_settings(tmp_path / "data", store=str(store)))
    try:
        (taken,) = place.accept(place.file("a.jpg", jpeg()))
        kept = image(place.ledger, taken.image_id)
        assert place.store.read(kept.sha256) == jpeg()
        assert [path.name for path in store.rglob("*") if path.is_file()] == [kept.sha256]
        assert not list(place.inbox.iterdir())
    finally:
        shutil.rmtree(store)
        place.ledger.close()


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1_000])
def test_groups_hold_everything_in_order_and_begin_small(count: int) -> None:
    groups = list(in_groups(range(count)))
    assert [item for group in groups for item in group] == list(range(count))
    assert [len(group) for group in groups[:2]] == [32, 64][: len(groups)] or count < 96
    assert all(0 < len(group) <= 256 for group in groups)
