from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.files import overwrite
from worker import store as module
from worker.errors import StoreAway
from worker.store import Area, SourceChanged, Store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: Store, source: Path, data: bytes, area: Area = Area.IMAGES, *, link: bool = True) -> str:
    source.write_bytes(data)
    with source.open("rb") as file:
        store.put(file, sha256(data), area, inode=file.fileno() if link else None)
    return sha256(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.make()
    return store


@pytest.mark.parametrize("link", [True, False])
def test_bytes_are_found_by_their_hash(store: Store, tmp_path: Path, link: bool) -> None:
    sha = put(store, tmp_path / "a", b"bytes", link=link)
    assert store.read(sha) == b"bytes"
    assert store.path(sha) == store.root / "images" / sha[:2] / sha
    assert (tmp_path / "a").read_bytes() == b"bytes"
    assert (tmp_path / "a").samefile(store.path(sha)) is link


def test_both_areas_are_searched(store: Store, tmp_path: Path) -> None:
    image = put(store, tmp_path / "a", b"image")
    letter = put(store, tmp_path / "b", b"letter", Area.REJECTED)
    assert sorted(store.hashes()) == sorted([image, letter])
    assert store.read(letter) == b"letter"
    with pytest.raises(FileNotFoundError):
        store.read(sha256(b"never"))


def test_a_missing_store_raises_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    """Like a share that is not mounted: nothing must be written to its empty mount point."""
    store.check()
    sha = put(store, tmp_path / "a", b"bytes")
    store.root.rename(tmp_path / "elsewhere")
    store.root.mkdir()
    with pytest.raises(StoreAway, match=r"out of reach: .*No such file"):
        store.check()
    with pytest.raises(StoreAway, match="out of reach"):
        put(store, tmp_path / "b", b"more")
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    (tmp_path / "elsewhere").rename(store.root)
    store.check()
    assert store.read(sha) == b"bytes"


@pytest.mark.parametrize("link", [True, False])
def test_bytes_that_changed_before_the_copy_are_not_stored(store: Store, tmp_path: Path, link: bool) -> None:
    sha = put(store, tmp_path / "a", b"bytes", link=link)
    overwrite(store.path(sha), b"rotten")
    with pytest.raises(SourceChanged):
        store.put(io.BytesIO(b"others"), sha, Area.IMAGES)
    with pytest.raises(SourceChanged):
        store.put(io.BytesIO(b"others"), sha256(b"new"), Area.IMAGES)
    assert list(store.hashes()) == [sha]
    assert list(store.unfinished()) == []


def test_a_copy_may_be_changed_by_nobody(store: Store, tmp_path: Path) -> None:
    path = store.path(put(store, tmp_path / "a", b"bytes", link=False))
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_the_opened_file_is_linked_whatever_its_name_is_now(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"bytes")
    with source.open("rb") as file:
        source.rename(tmp_path / "b")
        source.symlink_to("/etc/passwd")
        path = store.put(file, sha256(b"bytes"), Area.IMAGES, inode=file.fileno())
    assert path.samefile(tmp_path / "b")


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert list(store.hashes()) == []


def test_storing_the_same_bytes_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    sha = put(store, tmp_path / "a", b"bytes")
    inode = store.path(sha).stat().st_ino
    put(store, tmp_path / "b", b"bytes")
    assert store.path(sha).stat().st_ino == inode


def test_corrupt_bytes_are_replaced(store: Store, tmp_path: Path) -> None:
    sha = put(store, tmp_path / "a", b"bytes", link=False)
    overwrite(store.path(sha), b"rotten")
    put(store, tmp_path / "b", b"bytes")
    assert store.read(sha) == b"bytes"


def test_a_link_made_by_another_process_is_not_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two watchers on one folder, the times of a source identify its arrival, and may change only once."""
    source, write, times = tmp_path / "a", module._write, []

    def while_another_links(content: BinaryIO, target: Path) -> str:
        with source.open("rb") as file:
            store.put(file, sha256(b"bytes"), Area.IMAGES, inode=file.fileno())
        times.append(source.stat().st_ctime_ns)
        return write(content, target)

    monkeypatch.setattr(module, "_write", while_another_links)
    sha = put(store, source, b"bytes", link=False)
    assert source.samefile(store.path(sha))
    assert times == [source.stat().st_ctime_ns]
    assert list(store.unfinished()) == []


def test_a_failed_copy_leaves_no_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(_: BinaryIO, target: Path) -> str:
        target.write_bytes(b"by")
        raise OSError("disk full")

    monkeypatch.setattr(module, "_write", breaks_off)
    with pytest.raises(OSError, match="disk full"):
        put(store, tmp_path / "a", b"bytes", link=False)
    assert list(store.hashes()) == []
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_sync_covers_the_file_and_its_folders(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr(module, "_fsync", synced.add)
    sha = put(store, tmp_path / "a", b"bytes")
    path = store.path(sha)
    store.sync([path])
    # The entry of a new folder is in the folder above it.
    assert synced == {path, *path.parents[:2], store.root}
