from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from worker import store as module
from worker.errors import StoreAway
from worker.store import Area, Store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: Store, source: Path, data: bytes, area: Area = Area.IMAGES, *, link: bool = True) -> str:
    source.write_bytes(data)
    store.put(source, sha256(data), area, link=link)
    return sha256(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.make()
    return made


@pytest.mark.parametrize("link", [True, False])
def test_bytes_are_found_by_their_hash(store: Store, tmp_path: Path, link: bool) -> None:
    kept = put(store, tmp_path / "a", b"bytes", link=link)
    assert store.read(kept) == b"bytes"
    assert store.path(kept) == store.root / "images" / kept[:2] / kept
    assert (tmp_path / "a").read_bytes() == b"bytes"
    assert (tmp_path / "a").samefile(store.path(kept)) is link


def test_both_areas_are_searched(store: Store, tmp_path: Path) -> None:
    image = put(store, tmp_path / "a", b"image")
    away = put(store, tmp_path / "b", b"letter", Area.REJECTED)
    assert sorted(store.hashes()) == sorted([image, away])
    assert store.read(away) == b"letter"
    with pytest.raises(FileNotFoundError):
        store.read(sha256(b"never"))


def test_a_store_that_is_gone_says_so_and_takes_nothing(store: Store, tmp_path: Path) -> None:
    """As a share that is not mounted: its empty mount point must not be written to."""
    store.check()
    kept = put(store, tmp_path / "a", b"bytes")
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
    assert store.read(kept) == b"bytes"


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert list(store.hashes()) == []


def test_putting_the_same_bytes_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    kept = put(store, tmp_path / "a", b"bytes")
    inode = store.path(kept).stat().st_ino
    put(store, tmp_path / "b", b"bytes")
    assert store.path(kept).stat().st_ino == inode


def test_bytes_that_went_bad_are_replaced_by_good_ones(store: Store, tmp_path: Path) -> None:
    kept = put(store, tmp_path / "a", b"bytes", link=False)
    store.path(kept).write_bytes(b"rotten")
    put(store, tmp_path / "b", b"bytes")
    assert store.read(kept) == b"bytes"


def test_what_another_process_links_meanwhile_is_not_replaced(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two watchers on one folder: a source's times tell its arrival, and may change once only."""
    source, copy, times = tmp_path / "a", shutil.copyfile, []

    def while_another_links(given: Path, target: Path, **more: bool) -> object:
        store.put(source, sha256(b"bytes"), Area.IMAGES)
        times.append(source.stat().st_ctime_ns)
        return copy(given, target, **more)

    monkeypatch.setattr(shutil, "copyfile", while_another_links)
    kept = put(store, source, b"bytes", link=False)
    assert source.samefile(store.path(kept))
    assert times == [source.stat().st_ctime_ns]
    assert list(store.unfinished()) == []


def test_a_copy_that_breaks_off_is_no_file_of_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(_: Path, target: Path, **__: object) -> None:
        target.write_bytes(b"by")
        raise OSError("disk full")

    monkeypatch.setattr(shutil, "copyfile", breaks_off)
    with pytest.raises(OSError, match="disk full"):
        put(store, tmp_path / "a", b"bytes", link=False)
    assert list(store.hashes()) == []
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_a_file_and_every_folder_above_it_are_made_durable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr(module, "_fsync", synced.add)
    kept = put(store, tmp_path / "a", b"bytes")
    path = store.path(kept)
    store.sync([path])
    # A new folder's own entry stands in the folder above it.
    assert synced == {path, *path.parents[:2], store.root}
