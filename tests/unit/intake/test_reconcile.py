"""What `nightread db check` finds between store, ledger and inbox, and what its repair does, on both databases."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import make_settings
from tests.files import jpeg
from tests.filling import assert_whole
from worker.commands.check import as_text
from worker.config import Settings
from worker.intake import accept, reconcile
from worker.intake.accept import Acceptor, Candidate
from worker.intake.reconcile import Reconciler
from worker.ledger.maintenance import CheckResult
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Image, Receipt
from worker.store import Area, Store, open_store


class Place:
    """A data folder and a ledger that ought to agree."""

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

    def store_alone(self, data: bytes, area: Area = Area.IMAGES) -> str:
        """Bytes in the store that nothing was recorded of, as a crash or a restored backup leaves them."""
        path = self.drop("source", data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.store.put(path, sha256, area)
        path.unlink()
        return sha256

    def found(self, *, read_bytes: bool = False) -> dict[str, list[str]]:
        """What is there at all, and its names."""
        results = self.reconciler.compare(read_bytes=read_bytes)
        return {f.what: sorted(f.names) for f in results if f.names}

    def wrong(self, *, read_bytes: bool = False) -> list[str]:
        return [f.what for f in self.reconciler.compare(read_bytes=read_bytes) if not f.ok]

    def images(self) -> dict[str, Image]:
        with self.ledger.reading() as session:
            return {row.sha256: row for row in session.scalars(select(Image))}


@pytest.fixture
def place(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(reconcile, "COMMIT_WITHIN_S", -1.0)
    return Place(make_settings(tmp_path / "data"), ledger)


def test_where_all_agrees_nothing_is_wrong_and_nothing_is_repaired(place: Place) -> None:
    place.accept(place.drop("a.jpg", jpeg(1)), place.drop("letter.jpg", b"Dear colleague"))
    place.drop("waits.jpg", jpeg(2))
    assert len(place.reconciler.compare()) == 5
    assert place.found(read_bytes=True) == {}
    assert place.reconciler.repair() == []
    assert assert_whole(place.ledger).received == 2


def test_a_stored_file_that_no_image_names_is_taken_in_once(place: Place) -> None:
    alone = sorted([place.store_alone(jpeg(1)), place.store_alone(b"Dear colleague", Area.REJECTED)])
    assert place.wrong() == ["2 stored files without an image"]
    assert place.found() == {"2 stored files without an image": alone}
    assert place.reconciler.repair() == ["2 stored files accepted"]
    assert place.reconciler.repair() == []
    assert place.wrong(read_bytes=True) == []
    counts = assert_whole(place.ledger)
    assert (counts.received, counts.pending, counts.rejected) == (2, 1, 1)
    assert sorted(place.images()) == alone
    with place.ledger.reading() as session:
        assert set(session.scalars(select(Receipt.source))) == {"recovered"}
    assert {row.original_name for row in place.images().values()} == {f"recovered-{n[:16]}" for n in alone}


def test_more_of_them_than_one_group_holds_are_all_taken_in(place: Place) -> None:
    alone = {place.store_alone(b"letter %d" % number) for number in range(100)}
    assert place.reconciler.repair() == [f"{len(alone)} stored files accepted"]
    assert set(place.images()) == alone


def test_one_whose_source_is_still_there_is_left_to_the_watcher(place: Place) -> None:
    source = place.drop("a.jpg", jpeg(1))
    place.store.put(source, hashlib.sha256(jpeg(1)).hexdigest(), Area.IMAGES)
    assert place.found() == {}
    assert place.reconciler.repair() == []
    place.accept(source)
    assert assert_whole(place.ledger).received == 1
    with place.ledger.reading() as session:
        assert list(session.scalars(select(Receipt.original_name))) == ["a.jpg"]


def test_one_that_may_be_recorded_at_this_moment_is_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.store_alone(jpeg(1))
    monkeypatch.setattr(reconcile, "COMMIT_WITHIN_S", 60.0)
    assert place.found() == {}
    assert place.reconciler.repair() == []


def test_one_that_is_recorded_while_the_store_is_listed_is_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place.drop("a.jpg", jpeg(1))
    hashes: Callable[[], object] = place.store.hashes

    def while_it_arrives() -> object:
        place.accept(source)
        return hashes()

    monkeypatch.setattr(place.store, "hashes", while_it_arrives)
    assert place.found() == {}


def test_bytes_that_are_not_what_their_name_says_are_left_for_a_person(place: Place) -> None:
    sha256 = place.store_alone(jpeg(1))
    place.store.path(sha256).write_bytes(jpeg(2))
    assert place.reconciler.repair() == []
    assert place.found() == {"1 stored files without an image": [sha256]}
    assert place.images() == {}


def test_images_without_their_bytes_or_with_others_are_named(place: Place) -> None:
    place.accept(place.drop("a.jpg", jpeg(1)), place.drop("b.jpg", jpeg(2)), place.drop("c.jpg", jpeg(3)))
    first, second, _ = (row for _, row in sorted((row.id, row) for row in place.images().values()))
    place.store.path(first.sha256).unlink()
    place.store.path(second.sha256).write_bytes(b"other")
    missing = {"1 images without their bytes in the store": [f"image {first.id}"]}
    changed = {"1 images whose stored bytes have changed": [f"image {second.id}"]}
    assert place.found() == missing
    assert place.found(read_bytes=True) == missing | changed
    assert place.wrong(read_bytes=True) == [*missing, *changed]
    assert place.reconciler.repair() == [], "no repair makes bytes"


def test_what_was_never_finished_goes_when_nobody_writes_to_it_any_more(place: Place) -> None:
    place.accept(place.drop("a.jpg", jpeg(1)))
    (image,) = place.images()
    made = [place.store.path(image).with_name(f"{image}.x.part"), place.settings.incoming / "upload"]
    for path in made:
        path.write_bytes(b"half")
    assert place.found() == {}
    assert place.reconciler.repair() == []
    for path in made:
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    assert place.found() == {
        "1 unfinished copies in the store": [made[0].name],
        "1 uploads that broke off": ["upload"],
    }
    assert place.wrong() == []
    assert place.reconciler.repair() == ["1 unfinished copies removed", "1 broken uploads removed"]
    assert not any(path.exists() for path in made)
    assert place.store.path(image).read_bytes() == jpeg(1)


def test_a_source_that_has_its_receipt_is_removed_and_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, waits = place.drop("a.jpg", jpeg(1)), place.drop("b.jpg", jpeg(2))
    with monkeypatch.context() as patch:
        patch.setattr(accept, "_remove", lambda *_: None)
        place.accept(taken)
    assert place.found() == {"1 files in the inbox that have their receipt": ["a.jpg"]}
    assert place.reconciler.repair() == ["1 files with a receipt removed from the inbox"]
    assert (taken.exists(), waits.exists()) == (False, True)
    assert assert_whole(place.ledger).received == 1


def test_names_are_shown_up_to_a_sensible_number_and_give_a_terminal_no_orders() -> None:
    names = [f"image {number}" for number in range(25)]
    lines = as_text(CheckResult(ok=False, what="25 things", names=names)).splitlines()
    assert (lines[0], lines[1], lines[20]) == ("WRONG  25 things", "         image 0", "         image 19")
    assert lines[21:] == ["         and 5 more"]
    assert (
        as_text(CheckResult(ok=True, what="1 thing", names=["a\x1b[2J"])) == "ok     1 thing\n         a?[2J"
    )
