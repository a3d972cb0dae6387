"""The bounded process: a costly file ends it, and nothing else; the packs that it makes are checked."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import structlog

from tests.bombs import LARGE, black_png, scans
from tests.conftest import make_settings, wait_for
from tests.files import encoded, grey, jpeg
from worker.config import Settings
from worker.decoder_environment import decoder_environment
from worker.renditions.area import RenditionArea
from worker.renditions.bounded import NoRendition, make_pack
from worker.renditions.maker import Maker
from worker.renditions.on_demand import WAITING, OnDemand
from worker.renditions.pack import Kind
from worker.store import Area, Store, open_store

# Each rendition has a process of its own.
pytestmark = pytest.mark.slow

WALL_S = 300.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "data")


@pytest.fixture
def store(settings: Settings) -> Store:
    made = open_store(settings)
    made.make()
    return made


def stored(store: Store, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    store.put(io.BytesIO(data), sha256, Area.IMAGES)
    return sha256


def pack_of(store: Store, sha256: str) -> Path:
    return RenditionArea(store.root).root / sha256[:2] / f"{sha256}.zip"


def test_renditions_are_kept_and_found(settings: Settings, store: Store) -> None:
    sha256 = stored(store, jpeg())
    made = Maker(settings, store).make(sha256, Kind.FULL, wall_s=WALL_S)
    area = RenditionArea(store.root)
    assert area.has(sha256)
    assert area.find(sha256, Kind.FULL) == made
    thumbnail = area.find(sha256, Kind.THUMBNAIL)
    assert thumbnail is not None
    assert thumbnail.content_type == "image/jpeg"
    assert not list(area.root.glob("*.part"))
    assert list(store.hashes()) == [sha256]


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty"])
def test_damaged_pack_is_made_again(settings: Settings, store: Store, harm: str) -> None:
    sha256 = stored(store, jpeg())
    on_demand = OnDemand(settings, store)
    made = on_demand.get(sha256, Kind.FULL)
    path = pack_of(store, sha256)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes({"cut": bytes(data[:300]), "flipped": bytes(data), "empty": b""}[harm])
    assert RenditionArea(store.root).find(sha256, Kind.FULL) is None
    assert on_demand.get(sha256, Kind.FULL) == made


def test_changed_bytes_are_never_shown(settings: Settings, store: Store) -> None:
    sha256 = stored(store, jpeg())
    path = store.path(sha256)
    path.chmod(0o600)
    path.write_bytes(jpeg(seed=1))
    with pytest.raises(NoRendition, match="have changed"):
        OnDemand(settings, store).get(sha256, Kind.FULL)
    assert not pack_of(store, sha256).exists()


def test_disk_that_fails_is_no_answer_about_an_image(settings: Settings, tmp_path: Path) -> None:
    data, bounds = jpeg(), Maker(settings, open_store(settings)).bounds
    film = tmp_path / "film"
    film.write_bytes(data)
    # A file that is open for writing only cannot be read. The device is a full disk.
    for mode, target in (("ab", tmp_path / "pack"), ("rb", Path("/dev/full"))):
        with film.open(mode) as source, target.open("wb") as pack:
            with pytest.raises(NoRendition, match="cannot read this image, or the disk is full") as failure:
                make_pack(cast("BinaryIO", source), pack, hashlib.sha256(data).hexdigest(), bounds)
            assert not failure.value.lasting


def test_costly_file_ends_its_process_and_is_remembered(tmp_path: Path) -> None:
    # A second is the shortest limit. The largest file that any setting lets in takes longer on every machine.
    side, memory_bytes = 20_000, 4 * 1024**3
    settings = make_settings(
        tmp_path / "data", rendition_s=1, max_pixels=side**2, rendition_memory_bytes=memory_bytes
    )
    store = open_store(settings)
    store.make()
    slow = stored(store, scans(side, side, 100))
    maker = Maker(settings, store)
    with pytest.raises(NoRendition, match="takes too long"):
        maker.make(slow, Kind.FULL, wall_s=WALL_S)
    assert maker.area.has(slow)
    with structlog.testing.capture_logs() as logs, pytest.raises(NoRendition, match="takes too long"):
        OnDemand(settings, store).get(slow, Kind.FULL)
    assert not logs


def test_file_that_needs_too_much_memory_is_not_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", rendition_memory_bytes=256 * 1024**2)
    store = open_store(settings)
    store.make()
    with pytest.raises(NoRendition, match="NIGHTREAD_RENDITION_MEMORY_BYTES"):
        Maker(settings, store).make(stored(store, black_png(LARGE, LARGE)), Kind.FULL, wall_s=WALL_S)


def test_largest_file_is_shown_within_the_default_limits(settings: Settings, store: Store) -> None:
    sha256 = stored(store, black_png(LARGE, LARGE, colour=True))
    shown = Maker(settings, store).make(sha256, Kind.FULL, wall_s=WALL_S)
    assert (shown.facts.width, shown.facts.height) == (LARGE, LARGE)


def test_deadline_and_stop_end_the_process(settings: Settings, store: Store) -> None:
    slow = stored(store, scans(LARGE, LARGE, 100))
    maker = Maker(settings, store)
    stop = threading.Event()
    stop.set()
    for wall_s, event in ((0.0, None), (WALL_S, stop)):
        with pytest.raises(NoRendition, match="not ready in time") as failure:
            maker.make(slow, Kind.FULL, wall_s=wall_s, stop=event)
        assert not failure.value.lasting
    assert not maker.area.has(slow)


def test_full_disk_keeps_no_pack_but_shows_the_picture(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", min_free_bytes=10**18)
    store = open_store(settings)
    store.make()
    sha256 = stored(store, encoded(grey(), "PNG"))
    assert Maker(settings, store).make(sha256, Kind.FULL, wall_s=WALL_S).data.startswith(b"\x89PNG")
    assert not pack_of(store, sha256).exists()


def test_waiting_callers_are_limited(settings: Settings, store: Store) -> None:
    """Lists of thumbnails leave places for an image that somebody opens, and all of them leave threads free."""
    sha256 = stored(store, jpeg())
    on_demand = OnDemand(settings.model_copy(update={"rendition_s": WALL_S}), store)
    stop = threading.Event()
    on_demand._maker.make = lambda *_, **__: stop.wait(WALL_S)  # type: ignore[assignment,method-assign]
    callers: list[threading.Thread] = []

    def call(kind: Kind, count: int) -> None:
        places = on_demand._waiting._value - count
        callers.extend(threading.Thread(target=on_demand.get, args=(sha256, kind)) for _ in range(count))
        for caller in callers[-count:]:
            caller.start()
        wait_for(lambda: on_demand._waiting._value == places, "the callers wait")

    try:
        call(Kind.THUMBNAIL, 4)
        with pytest.raises(NoRendition, match="Other pictures"):
            on_demand.get(sha256, Kind.PREVIEW)
        call(Kind.FULL, WAITING - 4)
        with pytest.raises(NoRendition, match="Other pictures"):
            on_demand.get(sha256, Kind.FULL)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    del on_demand._maker.make
    assert on_demand.get(sha256, Kind.FULL).data


def test_settings_stay_out_of_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREAD_DATABASE_URL", "postgresql://u:secret@host/db")
    assert not [name for name in decoder_environment() if name.startswith("NIGHTREAD")]
