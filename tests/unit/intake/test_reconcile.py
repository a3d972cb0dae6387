"""`nightread db check` and its repair of store, ledger and inbox, on both databases."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import make_settings
from tests.files import jpeg, overwrite
from tests.filling import assert_consistent
from worker.commands.check import as_text
from worker.config import Settings
from worker.intake import accept, reconcile
from worker.intake.accept import Acceptor
from worker.intake.reconcile import Reconciler
from worker.intake.source import Candidate
from worker.ledger.maintenance import CheckResult
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Image, Receipt
from worker.store import Area, Store, open_store


class DataFolder:
    """A data folder and a ledger that should agree."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings, self.ledger = settings, ledger
        self.store: Store = open_store(settings)
        self.store.make()
        settings.inbox.mkdir(parents=True)
        settings.incoming.mkdir()
        self.reconciler = Reconciler(settings, ledger, self.store)

    def drop(self, name: str, data: bytes) -> Path:
        path = self.settings.inbox / name
        path.write_bytes(data)
        return path

    def accept(self, *paths: Path) -> None:
        files = [Candidate(path, path.name) for path in paths]
        Acceptor(self.settings, self.ledger, self.store).accept(
            files, source=Source.FOLDER, lane=Lane.OVERNIGHT
        )

    def store_only(self, data: bytes, area: Area = Area.IMAGES) -> str:
        """Store bytes without recording them, as a crash or a restored backup leaves them."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.store.put(io.BytesIO(data), sha256, area)
        return sha256

    def named(self, *, read_bytes: bool = False) -> dict[str, list[str]]:
        """Return sentence -> names, for each check that names something."""
        results = self.reconciler.compare(read_bytes=read_bytes)
        return {f.summary: sorted(f.names) for f in results if f.names}

    def wrong(self, *, read_bytes: bool = False) -> list[str]:
        return [f.summary for f in self.reconciler.compare(read_bytes=read_bytes) if not f.ok]

    def images(self) -> dict[str, Image]:
        with self.ledger.reading() as session:
            return {row.sha256: row for row in session.scalars(select(Image))}


@pytest.fixture
def data_folder(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    monkeypatch.setattr(reconcile, "COMMIT_WITHIN_S", -1.0)
    return DataFolder(make_settings(tmp_path / "data"), ledger)


def test_nothing_is_repaired_when_all_agree(data_folder: DataFolder) -> None:
    data_folder.accept(data_folder.drop("a.jpg", jpeg(1)), data_folder.drop("letter.jpg", b"Dear colleague"))
    data_folder.drop("waiting.jpg", jpeg(2))
    assert len(data_folder.reconciler.compare()) == 7
    assert data_folder.named(read_bytes=True) == {}
    assert data_folder.reconciler.repair() == []
    assert assert_consistent(data_folder.ledger).received == 2


def test_a_stored_file_without_an_image_is_accepted_once(data_folder: DataFolder) -> None:
    orphans = sorted(
        [data_folder.store_only(jpeg(1)), data_folder.store_only(b"Dear colleague", Area.REJECTED)]
    )
    assert data_folder.wrong() == ["2 stored files without an image"]
    assert data_folder.named() == {"2 stored files without an image": orphans}
    assert data_folder.reconciler.repair() == ["2 stored files accepted"]
    assert data_folder.reconciler.repair() == []
    assert data_folder.wrong(read_bytes=True) == []
    counts = assert_consistent(data_folder.ledger)
    assert (counts.received, counts.pending, counts.rejected) == (2, 1, 1)
    assert sorted(data_folder.images()) == orphans
    with data_folder.ledger.reading() as session:
        assert set(session.scalars(select(Receipt.source))) == {"recovered"}
    assert {row.original_name for row in data_folder.images().values()} == {
        f"recovered-{n[:16]}" for n in orphans
    }


def test_stored_files_are_accepted_in_several_groups(data_folder: DataFolder) -> None:
    orphans = {data_folder.store_only(b"letter %d" % number) for number in range(100)}
    assert data_folder.reconciler.repair() == [f"{len(orphans)} stored files accepted"]
    assert set(data_folder.images()) == orphans


def test_a_stored_file_with_a_source_is_left_alone(data_folder: DataFolder) -> None:
    source = data_folder.drop("a.jpg", jpeg(1))
    data_folder.store.put(io.BytesIO(jpeg(1)), hashlib.sha256(jpeg(1)).hexdigest(), Area.IMAGES)
    assert data_folder.named() == {}
    assert data_folder.reconciler.repair() == []
    data_folder.accept(source)
    assert assert_consistent(data_folder.ledger).received == 1
    with data_folder.ledger.reading() as session:
        assert list(session.scalars(select(Receipt.original_name))) == ["a.jpg"]


def test_a_stored_file_that_may_soon_be_recorded_is_left(
    data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_folder.store_only(jpeg(1))
    monkeypatch.setattr(reconcile, "COMMIT_WITHIN_S", 60.0)
    assert data_folder.named() == {}
    assert data_folder.reconciler.repair() == []


def test_a_file_recorded_during_the_comparison_is_not_reported(
    data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = data_folder.drop("a.jpg", jpeg(1))
    hashes: Callable[[], object] = data_folder.store.hashes

    def while_it_arrives() -> object:
        data_folder.accept(source)
        return hashes()

    monkeypatch.setattr(data_folder.store, "hashes", while_it_arrives)
    assert data_folder.named() == {}


def test_stored_bytes_with_a_wrong_hash_are_not_accepted(data_folder: DataFolder) -> None:
    sha256 = data_folder.store_only(jpeg(1))
    overwrite(data_folder.store.path(sha256), jpeg(2))
    assert data_folder.reconciler.repair() == []
    assert data_folder.named() == {"1 stored files without an image": [sha256]}
    assert data_folder.images() == {}


def test_images_with_missing_or_changed_bytes_are_named(data_folder: DataFolder) -> None:
    data_folder.accept(
        data_folder.drop("a.jpg", jpeg(1)),
        data_folder.drop("b.jpg", jpeg(2)),
        data_folder.drop("c.jpg", jpeg(3)),
    )
    first, second, _ = (row for _, row in sorted((row.id, row) for row in data_folder.images().values()))
    data_folder.store.path(first.sha256).unlink()
    overwrite(data_folder.store.path(second.sha256), b"other")
    missing = {"1 images whose bytes are missing in the image store": [f"image {first.id}"]}
    changed = {"1 images whose stored bytes have changed": [f"image {second.id}"]}
    assert data_folder.named() == missing
    assert data_folder.named(read_bytes=True) == missing | changed
    assert data_folder.wrong(read_bytes=True) == [*missing, *changed]
    assert data_folder.reconciler.repair() == [], "no repair can bring bytes back"


def test_abandoned_copies_and_uploads_are_removed(data_folder: DataFolder) -> None:
    data_folder.accept(data_folder.drop("a.jpg", jpeg(1)))
    (image,) = data_folder.images()
    leftovers = [
        data_folder.store.path(image).with_name(f"{image}.x.part"),
        data_folder.settings.incoming / "upload",
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    assert data_folder.named() == {}
    assert data_folder.reconciler.repair() == []
    for path in leftovers:
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    assert data_folder.named() == {
        "1 unfinished copies in the image store": [leftovers[0].name],
        "1 interrupted uploads": ["upload"],
    }
    assert data_folder.wrong() == []
    assert data_folder.reconciler.repair() == ["1 unfinished copies removed", "1 interrupted uploads removed"]
    assert not any(path.exists() for path in leftovers)
    assert data_folder.store.path(image).read_bytes() == jpeg(1)


def test_only_sources_with_a_receipt_are_removed(
    data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, waiting = data_folder.drop("a.jpg", jpeg(1)), data_folder.drop("b.jpg", jpeg(2))
    with monkeypatch.context() as patch:
        patch.setattr(accept, "_remove", lambda *_: None)
        data_folder.accept(recorded)
    assert data_folder.named() == {"1 files in the inbox that already have a receipt": ["a.jpg"]}
    assert data_folder.reconciler.repair() == ["1 files with a receipt removed from the inbox"]
    assert (recorded.exists(), waiting.exists()) == (False, True)
    assert assert_consistent(data_folder.ledger).received == 1


def test_at_most_twenty_names_are_shown_without_control_characters() -> None:
    names = [f"image {number}" for number in range(25)]
    lines = as_text(CheckResult(ok=False, summary="25 things", names=names)).splitlines()
    assert (lines[0], lines[1], lines[20]) == ("WRONG  25 things", "         image 0", "         image 19")
    assert lines[21:] == ["         and 5 more"]
    assert (
        as_text(CheckResult(ok=True, summary="1 thing", names=["a\x1b[2J"]))
        == "ok     1 thing\n         a?[2J"
    )
