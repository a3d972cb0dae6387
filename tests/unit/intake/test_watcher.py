from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from watchdog.observers import Observer

from tests.conftest import make_settings, wait_for
from tests.files import jpeg
from tests.filling import assert_whole
from tests.ledgers import current_ledger
from worker.intake.accept import Acceptor
from worker.intake.watcher import FolderMonitor, is_ignored
from worker.ledger.states import Lane
from worker.ledger.tables import Receipt
from worker.store import open_store


class Watched:
    """An inbox with a monitor that a test drives scan by scan, or lets run."""

    def __init__(self, data: Path, **more: object) -> None:
        settings = make_settings(data, **more)
        self.inbox = settings.inbox
        self.inbox.mkdir(parents=True)
        self.ledger = current_ledger(settings.database)
        self.queued: list[int] = []
        acceptor = Acceptor(settings, self.ledger, open_store(settings))
        self.monitor = FolderMonitor(settings, acceptor, self._enqueue)

    def _enqueue(self, ids: Sequence[int], lane: Lane) -> None:
        assert lane is Lane.OVERNIGHT
        self.queued += ids

    def drop(self, name: str, data: bytes) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def settle(self) -> None:
        """Two scans with nothing changed between them."""
        self.monitor.scan_once()
        self.monitor.scan_once()

    def names(self) -> list[str]:
        with self.ledger.reading() as session:
            return sorted(row.original_name for row in session.query(Receipt))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(data: Path | None = None, **more: object) -> Watched:
        made.append(Watched(data or tmp_path / f"data{len(made)}", **{"settle_s": 0.0, **more}))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


@pytest.mark.parametrize(
    "name",
    [".hidden.jpg", ".DS_Store", "a.jpg.part", "A.JPG.PART", "a.tmp", "a.jpg~", "a.crdownload", "a.filepart"],
)
def test_hidden_and_unfinished_names_are_ignored(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["a.jpg", "a", "part", "tmp", "a.partner", "~a.jpg", "a.jpg.", "IM.000.1"])
def test_other_names_are_not(name: str) -> None:
    assert not is_ignored(name)


def test_nothing_is_read_at_the_first_look(watched: Callable[..., Watched]) -> None:
    here = watched()
    path = here.drop("a.jpg", jpeg())
    assert here.monitor.scan_once() is not None
    assert path.exists()
    here.monitor.scan_once()
    assert not path.exists()
    assert len(here.queued) == 1


def test_a_file_that_is_still_written_is_not_read_until_it_rests(watched: Callable[..., Watched]) -> None:
    here = watched()
    data = jpeg()
    for end in range(100, len(data), 400):
        path = here.drop("slow.jpg", data[:end])
        here.monitor.scan_once()
        assert path.exists()
    here.drop("slow.jpg", data)
    here.settle()
    assert assert_whole(here.ledger).pending == 1, "it was read once, whole"
    assert assert_whole(here.ledger).received == 1


def test_what_is_no_finished_file_stays_where_it_is(watched: Callable[..., Watched], tmp_path: Path) -> None:
    here = watched()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.jpg").write_bytes(jpeg())
    for name in (".hidden.jpg", "a.jpg.part", "b.jpg~", ".trash/c.jpg", "folder.tmp/d.jpg"):
        here.drop(name, jpeg())
    (here.inbox / "link.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    (here.inbox / "linked").symlink_to(tmp_path / "elsewhere")
    (here.inbox / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(here.inbox / "pipe.jpg")
    before = sorted(here.inbox.rglob("*"))
    here.settle()
    here.settle()
    assert sorted(here.inbox.rglob("*")) == before
    assert here.names() == []
    assert (tmp_path / "elsewhere" / "x.jpg").exists()


def test_folders_are_found_whole_and_nested_and_under_any_name(
    watched: Callable[..., Watched], tmp_path: Path
) -> None:
    here = watched()
    moved = tmp_path / "patient" / "study" / "series"
    moved.mkdir(parents=True)
    for number in range(3):
        (moved / f"{number}.jpg").write_bytes(jpeg(number))
    here.settle()
    (tmp_path / "patient").rename(here.inbox / "patient")
    here.drop(os.fsdecode(b"caf\xe9/M\xfcller\n.jpg"), jpeg(7))
    here.settle()
    series = [f"patient/study/series/{number}.jpg" for number in range(3)]
    assert here.names() == ["caf\\xe9/M\\xfcller\n.jpg", *series]
    assert not [path for path in here.inbox.rglob("*") if path.is_file()]


ANY_NAMES = [
    "🫁 胸部 Müller.jpg",
    os.fsdecode(b"M\xfcller.jpg"),
    os.fsdecode(b"\xff\xfe\x80.jpg"),
    "two\nlines\t.jpg",
    "x\u202egpj.exe",
    "-rf --.jpg",
    "' \" ; $(x) %s {} \\.jpg",
    "no suffix",
    "n" * 251 + ".jpg",
    os.fsdecode("é".encode() * 125 + b"\xc3.jpg"),
]


def test_a_file_may_have_any_name_that_a_file_system_takes(watched: Callable[..., Watched]) -> None:
    here = watched()
    for number, name in enumerate(ANY_NAMES):
        here.drop(name, jpeg(number))
    here.settle()
    assert not list(here.inbox.iterdir())
    assert len(set(here.names())) == len(here.queued) == len(ANY_NAMES)
    assert {ANY_NAMES[0], "M\\xfcller.jpg", "\\xff\\xfe\\x80.jpg"} <= set(here.names())
    assert_whole(here.ledger)


def test_a_folder_may_be_as_deep_as_a_path_can_name_and_a_deeper_one_harms_nobody(
    watched: Callable[..., Watched], capsys: pytest.CaptureFixture[str]
) -> None:
    here = watched()
    deep = "/".join(["a folder of thirty characters."] * 100)
    here.drop(f"{deep}/a.jpg", jpeg(1))
    # Deeper than PATH_MAX, 4,096 bytes: such a file can only be reached step by step.
    handle = os.open(here.inbox / deep, os.O_RDONLY)
    for _ in range(50):
        os.mkdir("x" * 100, dir_fd=handle)
        below = os.open("x" * 100, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(os.open("unreachable.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)
    for _ in range(3):
        here.settle()
    assert here.names() == [f"{deep}/a.jpg"]
    assert capsys.readouterr().out.count("a folder cannot be read") == 1, "once, not once a scan"
    subprocess.run(["rm", "-rf", here.inbox], check=True)


def test_what_may_not_be_read_stays_and_is_taken_once_it_may(
    watched: Callable[..., Watched], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_another_user() as folder:
        monkeypatch.chdir(folder)
        here = watched(data=folder / "data")
        secret, closed = here.drop("secret.jpg", jpeg(1)), here.drop("closed/a.jpg", jpeg(2)).parent
        here.drop("open.jpg", jpeg(3))
        secret.chmod(0)
        closed.chmod(0)
        for _ in range(3):
            here.settle()
        assert here.names() == ["open.jpg"]
        said = capsys.readouterr().out
        assert said.count("a file cannot be read") == said.count("a folder cannot be read") == 1
        secret.chmod(0o600)
        closed.chmod(0o700)
        here.settle()
        assert here.names() == ["closed/a.jpg", "open.jpg", "secret.jpg"]
        here.ledger.close()


@contextmanager
def as_another_user() -> Iterator[Path]:
    """A folder of a user who may not read everything, as whom this process runs meanwhile; root may."""
    with tempfile.TemporaryDirectory(prefix="nightread-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, 12_345, 12_345)
            os.seteuid(12_345)
        try:
            yield Path(folder)
        finally:
            os.seteuid(os.getuid())


def test_a_file_that_is_renamed_while_it_is_written_is_read_once_whole(
    watched: Callable[..., Watched],
) -> None:
    here = watched()
    data = jpeg()
    with (here.inbox / "first.jpg").open("wb") as file:
        for number, start in enumerate(range(0, len(data), 400)):
            file.write(data[start : start + 400])
            file.flush()
            here.monitor.scan_once()
            (last,) = here.inbox.iterdir()
            last.rename(here.inbox / f"{number}.jpg")
        assert here.names() == []
    here.settle()
    assert here.names() == [f"{number}.jpg"]
    assert assert_whole(here.ledger).pending == 1


def test_a_file_that_is_gone_before_it_was_read_has_no_receipt(watched: Callable[..., Watched]) -> None:
    here = watched()
    here.drop("a.jpg", jpeg())
    here.monitor.scan_once()
    (here.inbox / "a.jpg").unlink()
    here.drop("b.jpg", jpeg())
    here.monitor.scan_once()
    (here.inbox / "b.jpg").rename(here.inbox / "c.jpg")
    here.monitor._accept([str(here.inbox / "b.jpg")])
    assert here.names() == []
    here.settle()
    assert here.names() == ["c.jpg"]


def test_an_empty_folder_is_removed_only_when_it_has_rested(watched: Callable[..., Watched]) -> None:
    here = watched()
    fresh, old = here.inbox / "fresh", here.inbox / "old"
    for folder in (fresh, old):
        folder.mkdir()
    os.utime(old, (time.time() - 61, time.time() - 61))
    here.settle()
    assert fresh.is_dir()
    assert not old.exists()
    assert here.inbox.is_dir()


def test_more_files_than_a_group_are_all_taken(watched: Callable[..., Watched]) -> None:
    here = watched()
    for number in range(70):
        here.drop(f"{number}.jpg", jpeg() + bytes([number]))
    here.settle()
    assert len(set(here.queued)) == 70
    assert assert_whole(here.ledger).pending == 70


def test_a_duplicate_is_not_queued_again(watched: Callable[..., Watched]) -> None:
    here = watched()
    for name in ("a.jpg", "b.jpg"):
        here.drop(name, jpeg())
    here.drop("c.jpg", b"no image")
    here.settle()
    assert len(here.queued) == 1
    counts = assert_whole(here.ledger)
    assert (counts.received, counts.duplicates, counts.rejected, counts.pending) == (3, 1, 1, 1)


def run_until(here: Watched, done: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=here.monitor.run, args=(stop, lambda: None))
    thread.start()
    try:
        wait_for(done, 20, "the monitor")
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_an_event_brings_the_next_scan_forward(watched: Callable[..., Watched]) -> None:
    here = watched(scan_s=3600.0)

    def dropped_late() -> bool:
        if not (here.inbox / "started").exists():
            here.drop("started", b"x")
            time.sleep(1)
            here.drop("folder/a.jpg", jpeg())
        return "folder/a.jpg" in here.names()

    run_until(here, dropped_late)


def test_without_events_the_periodic_scan_goes_on_alone(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The edge: using up the kernel's inotify instances would starve every other program here.
    def no_more_watches(_: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(Observer, "start", no_more_watches)
    here = watched(scan_s=0.2)
    here.drop("a.jpg", jpeg())
    run_until(here, lambda: here.names() == ["a.jpg"])


def test_an_inbox_that_vanishes_for_a_while_is_watched_again(watched: Callable[..., Watched]) -> None:
    here = watched()
    here.settle()
    here.inbox.rmdir()
    here.settle()
    here.drop("a.jpg", jpeg())
    here.settle()
    assert here.names() == ["a.jpg"]
