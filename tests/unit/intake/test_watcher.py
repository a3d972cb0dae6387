from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from watchdog.observers import Observer

from tests.conftest import HANG_S, make_settings, wait_for
from tests.files import jpeg
from tests.filling import assert_consistent
from tests.ledgers import current_ledger
from worker.heartbeat import Heartbeat
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.intake.watcher import FolderMonitor
from worker.ledger.states import Lane
from worker.ledger.tables import Process, Receipt
from worker.store import open_store


class Inbox:
    """An inbox with a monitor; a test calls its scans, or runs it."""

    def __init__(self, data: Path, **more: object) -> None:
        settings = make_settings(data, **more)
        self.folder = settings.inbox
        self.folder.mkdir(parents=True)
        self.ledger = current_ledger(settings.database)
        self.queued: list[int] = []
        self.settings, self.acceptor = settings, Acceptor(settings, self.ledger, open_store(settings))
        self.monitor = FolderMonitor(settings, self.acceptor, self._enqueue)

    def _enqueue(self, ids: Sequence[int], lane: Lane) -> None:
        assert lane is Lane.OVERNIGHT
        self.queued += ids

    def drop(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def settle(self) -> None:
        """Scan twice without a change in between."""
        self.monitor.scan_once()
        self.monitor.scan_once()

    def names(self) -> list[str]:
        with self.ledger.reading() as session:
            return sorted(row.original_name for row in session.query(Receipt))


@pytest.fixture
def make_inbox(tmp_path: Path) -> Iterator[Callable[..., Inbox]]:
    inboxes: list[Inbox] = []

    def make(data: Path | None = None, **more: object) -> Inbox:
        inboxes.append(Inbox(data or tmp_path / f"data{len(inboxes)}", **{"settle_s": 0.0, **more}))
        return inboxes[-1]

    yield make
    for inbox in inboxes:
        inbox.ledger.close()


def test_a_broken_off_file_rests_longer(make_inbox: Callable[..., Inbox]) -> None:
    """A sender of another machine may pause for a minute, and no system here knows that it still writes."""
    inbox, whole = make_inbox(broken_off_s=3600.0), jpeg()
    for name, data in {"empty.jpg": b"", "cut.jpg": whole[:-200], "zeros.jpg": bytes(len(whole))}.items():
        inbox.drop(name, data)
    inbox.drop("whole.jpg", jpeg(1))
    inbox.drop("letter.pdf", b"%PDF-1.7")
    inbox.settle()
    inbox.settle()
    assert inbox.names() == ["letter.pdf", "whole.jpg"]
    inbox.drop("cut.jpg", whole)
    inbox.settle()
    assert inbox.names() == ["cut.jpg", "letter.pdf", "whole.jpg"]


def test_a_broken_off_file_that_rested_is_rejected(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox(broken_off_s=0.2)
    inbox.drop("empty.jpg", b"")
    wait_for(lambda: inbox.monitor.scan_once() is None or inbox.names() == ["empty.jpg"])
    wait_for(lambda: bool(inbox.monitor.scan_once() or True) and inbox.names() == ["empty.jpg"])
    assert assert_consistent(inbox.ledger).rejected == 1


def test_clutter_is_left_alone_and_counted(
    make_inbox: Callable[..., Inbox], capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = make_inbox(ignore="preview-*, *.dcm.json")
    for name in ("Thumbs.db", "@eaDir/a.jpg", "preview-1.jpg", "a.DCM.JSON", "__MACOSX/._a.jpg"):
        inbox.drop(name, jpeg())
    inbox.drop("night.zip", b"PK")
    inbox.settle()
    inbox.settle()
    assert inbox.names() == ["night.zip"]
    assert len(list(inbox.folder.rglob("*.*"))) == 5
    logged = capsys.readouterr().out
    assert logged.count("left alone") == 1
    assert "count=5" in logged


@pytest.mark.parametrize("control", [".aria2", ".lftp-pget-status"])
def test_a_file_with_a_control_file_beside_it_waits(make_inbox: Callable[..., Inbox], control: str) -> None:
    inbox = make_inbox()
    inbox.drop("a.jpg", jpeg())
    beside = inbox.drop(f"a.jpg{control}", b"state")
    inbox.settle()
    assert inbox.names() == []
    beside.unlink()
    inbox.settle()
    assert inbox.names() == ["a.jpg"]


def test_no_file_is_accepted_on_the_first_scan(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    path = inbox.drop("a.jpg", jpeg())
    assert inbox.monitor.scan_once() is not None
    assert path.exists()
    inbox.monitor.scan_once()
    assert not path.exists()
    assert len(inbox.queued) == 1


def test_a_file_is_accepted_only_when_its_writer_has_finished(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    data = jpeg()
    for end in range(100, len(data), 400):
        path = inbox.drop("slow.jpg", data[:end])
        inbox.monitor.scan_once()
        assert path.exists()
    inbox.drop("slow.jpg", data)
    inbox.settle()
    assert assert_consistent(inbox.ledger).pending == 1, "the file was read once, and completely"
    assert assert_consistent(inbox.ledger).received == 1


def test_a_long_scan_does_not_count_as_settle_time(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks at a file within a moment say little, however long the scan looks at the files after it."""
    inbox, now = make_inbox(settle_s=1.0), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    files_after, scan = 0.0, inbox.monitor._scan

    def slow_scan() -> Iterator[tuple[str, os.stat_result]]:
        nonlocal now
        yield from scan()
        now += files_after

    monkeypatch.setattr(inbox.monitor, "_scan", slow_scan)
    inbox.drop("a.jpg", jpeg())
    inbox.monitor.scan_once()
    now, files_after = now + 0.25, 60.0
    inbox.monitor.scan_once()
    assert inbox.names() == []
    inbox.monitor.scan_once()
    assert inbox.names() == ["a.jpg"]


def test_unfinished_files_links_and_pipes_stay(make_inbox: Callable[..., Inbox], tmp_path: Path) -> None:
    inbox = make_inbox()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.jpg").write_bytes(jpeg())
    for name in (".hidden.jpg", "a.jpg.part", "b.jpg~", ".trash/c.jpg", "folder.tmp/d.jpg"):
        inbox.drop(name, jpeg())
    (inbox.folder / "link.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    (inbox.folder / "linked").symlink_to(tmp_path / "elsewhere")
    (inbox.folder / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(inbox.folder / "pipe.jpg")
    before = sorted(inbox.folder.rglob("*"))
    inbox.settle()
    inbox.settle()
    assert sorted(inbox.folder.rglob("*")) == before
    assert inbox.names() == []
    assert (tmp_path / "elsewhere" / "x.jpg").exists()


def test_nested_folders_are_accepted_completely(make_inbox: Callable[..., Inbox], tmp_path: Path) -> None:
    inbox = make_inbox()
    moved = tmp_path / "patient" / "study" / "series"
    moved.mkdir(parents=True)
    for number in range(3):
        (moved / f"{number}.jpg").write_bytes(jpeg(number))
    inbox.settle()
    (tmp_path / "patient").rename(inbox.folder / "patient")
    inbox.drop(os.fsdecode(b"caf\xe9/M\xfcller\n.jpg"), jpeg(7))
    inbox.settle()
    series = [f"patient/study/series/{number}.jpg" for number in range(3)]
    assert inbox.names() == ["caf\\xe9/M\\xfcller\n.jpg", *series]
    assert not [path for path in inbox.folder.rglob("*") if path.is_file()]


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


def test_a_file_may_have_any_name(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    for number, name in enumerate(ANY_NAMES):
        inbox.drop(name, jpeg(number))
    inbox.settle()
    assert not list(inbox.folder.iterdir())
    assert len(set(inbox.names())) == len(inbox.queued) == len(ANY_NAMES)
    assert {ANY_NAMES[0], "M\\xfcller.jpg", "\\xff\\xfe\\x80.jpg"} <= set(inbox.names())
    assert_consistent(inbox.ledger)


def test_a_folder_deeper_than_path_max_does_no_harm(
    make_inbox: Callable[..., Inbox], capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = make_inbox()
    deep = "/".join(["a folder of thirty characters."] * 100)
    inbox.drop(f"{deep}/a.jpg", jpeg(1))
    # Deeper than PATH_MAX, 4,096 bytes: such a folder can only be created step by step.
    handle = os.open(inbox.folder / deep, os.O_RDONLY)
    for _ in range(50):
        os.mkdir("x" * 100, dir_fd=handle)
        below = os.open("x" * 100, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(os.open("unreachable.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)
    for _ in range(3):
        inbox.settle()
    assert inbox.names() == [f"{deep}/a.jpg"]
    assert capsys.readouterr().out.count("a folder cannot be read") == 1, "once, not on each scan"
    subprocess.run(["rm", "-rf", inbox.folder], check=True)


def test_an_unreadable_file_is_accepted_once_it_is_readable(
    make_inbox: Callable[..., Inbox], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_another_user() as folder:
        monkeypatch.chdir(folder)
        inbox = make_inbox(data=folder / "data")
        secret, closed = inbox.drop("secret.jpg", jpeg(1)), inbox.drop("closed/a.jpg", jpeg(2)).parent
        inbox.drop("open.jpg", jpeg(3))
        secret.chmod(0)
        closed.chmod(0)
        for _ in range(3):
            inbox.settle()
        assert inbox.names() == ["open.jpg"]
        problem = "files and folders in the inbox: 2 that cannot be read (Permission denied)"
        assert inbox.monitor.problem() == problem
        output = capsys.readouterr().out
        assert output.count("a file cannot be read") == output.count("a folder cannot be read") == 1
        secret.chmod(0o600)
        closed.chmod(0o700)
        inbox.settle()
        assert inbox.names() == ["closed/a.jpg", "open.jpg", "secret.jpg"]
        assert inbox.monitor.problem() is None
        inbox.ledger.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_an_unremovable_file_gets_one_receipt_whoever_owns_it(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    with as_another_user() as folder:
        monkeypatch.chdir(folder)
        inbox = make_inbox(data=folder / "data")
        path = inbox.drop("theirs/a.jpg", jpeg(1))
        path.parent.chmod(0o500)
        inbox.settle()
        inbox.settle()
        assert inbox.names() == ["theirs/a.jpg"]
        assert "1 that have their receipt but cannot be removed" in str(inbox.monitor.problem())
        # Like a chown, this changes the times of the inode that nobody can set.
        path.chmod(0o640)
        if restarted:
            inbox.monitor = FolderMonitor(inbox.settings, inbox.acceptor, inbox._enqueue)
        inbox.settle()
        assert assert_consistent(inbox.ledger).received == 1
        path.parent.chmod(0o700)
        inbox.settle()
        assert not path.exists()
        assert inbox.monitor.problem() is None
        assert assert_consistent(inbox.ledger).received == 1
        inbox.ledger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_a_file_held_open_too_long_is_a_problem_until_it_is_accepted(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, now = make_inbox(broken_off_s=120.0), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = inbox.drop("a.jpg", jpeg())
    with path.open("r+b"):
        inbox.settle()
        assert inbox.monitor.problem() is None
        now += 120.0
        inbox.monitor.scan_once()
        problem = "1 that wait (another program still has the file open for writing)"
        assert inbox.monitor.problem() == f"files and folders in the inbox: {problem}"
        assert inbox.names() == []
    inbox.monitor.scan_once()
    assert inbox.names() == ["a.jpg"]
    assert inbox.monitor.problem() is None


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,  # noqa: PTH116, S108
    reason="needs two file systems",
)
def test_an_inbox_on_another_file_system_is_a_problem_until_it_is_back(
    make_inbox: Callable[..., Inbox], tmp_path: Path
) -> None:
    inbox = make_inbox()
    inbox.settle()
    assert inbox.monitor.problem() is None
    inbox.folder.rename(tmp_path / "away")
    inbox.folder.symlink_to("/dev/shm")  # noqa: S108
    assert "another file system" in str(inbox.monitor.problem())
    inbox.folder.unlink()
    assert "cannot be read" in str(inbox.monitor.problem())
    (tmp_path / "away").rename(inbox.folder)
    assert inbox.monitor.problem() is None


@contextmanager
def as_another_user() -> Iterator[Path]:
    """Run as a user who cannot read everything, with a folder of this user; root can read everything."""
    with tempfile.TemporaryDirectory(prefix="nightread-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, 12_345, 12_345)
            os.seteuid(12_345)
        try:
            yield Path(folder)
        finally:
            os.seteuid(os.getuid())


def test_a_file_renamed_while_written_is_accepted_once(
    make_inbox: Callable[..., Inbox],
) -> None:
    inbox = make_inbox()
    data = jpeg()
    with (inbox.folder / "first.jpg").open("wb") as file:
        for number, start in enumerate(range(0, len(data), 400)):
            file.write(data[start : start + 400])
            file.flush()
            inbox.monitor.scan_once()
            (last,) = inbox.folder.iterdir()
            last.rename(inbox.folder / f"{number}.jpg")
        assert inbox.names() == []
    inbox.settle()
    assert inbox.names() == [f"{number}.jpg"]
    assert assert_consistent(inbox.ledger).pending == 1


def test_a_file_that_vanishes_before_reading_has_no_receipt(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    inbox.drop("a.jpg", jpeg())
    inbox.monitor.scan_once()
    (inbox.folder / "a.jpg").unlink()
    inbox.drop("b.jpg", jpeg())
    inbox.monitor.scan_once()
    (inbox.folder / "b.jpg").rename(inbox.folder / "c.jpg")
    inbox.monitor._accept([Candidate(inbox.folder / "b.jpg", "b.jpg", inbox.folder)])
    assert inbox.names() == []
    inbox.settle()
    assert inbox.names() == ["c.jpg"]


def test_only_an_emptied_folder_is_removed_after_a_day(make_inbox: Callable[..., Inbox]) -> None:
    inbox, now = make_inbox(), time.time()
    (inbox.folder / "standing").mkdir()
    for name in ("old", "new"):
        inbox.drop(f"{name}/a.jpg", jpeg())
    inbox.settle()
    assert inbox.names() == ["new/a.jpg", "old/a.jpg"]
    for name, age_s in (("standing", 1e6), ("old", 90_000), ("new", 80_000)):
        os.utime(inbox.folder / name, (now - age_s, now - age_s))
    inbox.settle()
    assert sorted(path.name for path in inbox.folder.iterdir()) == ["new", "standing"]


def test_a_folder_that_is_made_again_counts_as_a_new_one(make_inbox: Callable[..., Inbox]) -> None:
    """The monitor forgets folders that are gone: a sender may make thousands in a year."""
    inbox = make_inbox()
    folder = inbox.drop("study/a.jpg", jpeg()).parent
    inbox.settle()
    folder.rmdir()
    inbox.monitor.scan_once()
    folder.mkdir()
    os.utime(folder, (time.time() - 90_000, time.time() - 90_000))
    inbox.monitor.scan_once()
    assert folder.exists(), "it has brought no file"


def test_more_files_than_one_group_are_all_accepted(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    for number in range(70):
        inbox.drop(f"{number}.jpg", jpeg() + bytes([number]))
    inbox.settle()
    assert len(set(inbox.queued)) == 70
    assert assert_consistent(inbox.ledger).pending == 70


def test_a_duplicate_is_not_queued_again(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    for name in ("a.jpg", "b.jpg"):
        inbox.drop(name, jpeg())
    inbox.drop("c.jpg", b"no image")
    inbox.settle()
    assert len(inbox.queued) == 1
    counts = assert_consistent(inbox.ledger)
    assert (counts.received, counts.duplicates, counts.rejected, counts.pending) == (3, 1, 1, 1)


def run_until(inbox: Inbox, done: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=inbox.monitor.run, args=(stop, lambda: None, lambda: None))
    thread.start()
    try:
        wait_for(done, "the monitor")
    finally:
        stop.set()
        thread.join(HANG_S)
    assert not thread.is_alive()


def test_an_event_starts_the_next_scan_sooner(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox(scan_s=3600.0)
    inbox.drop("first.jpg", jpeg(1))
    dropped = False

    def late_file_is_accepted() -> bool:
        nonlocal dropped
        if "first.jpg" in inbox.names() and not dropped:
            dropped = True
            inbox.drop("folder/late.jpg", jpeg(2))
        return "folder/late.jpg" in inbox.names()

    run_until(inbox, late_file_is_accepted)


def test_the_periodic_scan_works_without_events(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Simulated, because using up the inotify instances of the kernel would disturb other programs.
    def no_more_watches(_: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(Observer, "start", no_more_watches)
    inbox = make_inbox(scan_s=0.2)
    inbox.drop("a.jpg", jpeg())
    run_until(inbox, lambda: inbox.names() == ["a.jpg"])


def test_an_inbox_that_comes_back_is_watched_again(make_inbox: Callable[..., Inbox]) -> None:
    inbox = make_inbox()
    inbox.settle()
    inbox.folder.rmdir()
    inbox.settle()
    inbox.drop("a.jpg", jpeg())
    inbox.settle()
    assert inbox.names() == ["a.jpg"]


def test_file_that_changes_while_others_are_accepted_waits(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many files take minutes, in which a sender may go on with one that had settled."""
    inbox = make_inbox(broken_off_s=0.0)
    for number in range(33):
        inbox.drop(f"a{number:02}.jpg", jpeg(number + 1))
    late = inbox.drop("late.jpg", jpeg(99)[:-100])
    inbox.monitor.scan_once()
    accept = inbox.acceptor.accept

    def meanwhile(files: Sequence[Candidate], **more: Any) -> object:
        accepted = accept(files, **more)
        if late.exists() and late.stat().st_size < len(jpeg(99)):
            late.write_bytes(jpeg(99))
        return accepted

    monkeypatch.setattr(inbox.acceptor, "accept", meanwhile)
    inbox.monitor.scan_once()
    assert late.exists()
    assert "late.jpg" not in inbox.names()
    inbox.settle()
    assert "late.jpg" in inbox.names()
    with inbox.ledger.reading() as session:
        (receipt,) = session.query(Receipt).filter(Receipt.original_name == "late.jpg")
        assert receipt.bytes == len(jpeg(99))


def test_a_watcher_in_a_long_scan_is_not_silent(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many files take minutes, and three missing heartbeats are a problem."""
    inbox, stop = make_inbox(heartbeat_s=0.05), threading.Event()
    for number in range(100):
        inbox.drop(f"{number}.jpg", jpeg(number))
    accept, beats = inbox.acceptor.accept, list[datetime]()

    def beat_at() -> datetime:
        with inbox.ledger.reading() as session:
            return session.scalars(select(Process.beat_at)).one()

    def after_a_heartbeat(files: Sequence[Candidate], **more: Any) -> object:
        wait_for(lambda: beat_at() not in beats, "a heartbeat between two groups")
        accepted = accept(files, **more)
        beats.append(beat_at())
        if len(beats) == 3:
            stop.set()
        return accepted

    monkeypatch.setattr(inbox.acceptor, "accept", after_a_heartbeat)
    with Heartbeat(inbox.settings, inbox.ledger, "watch", needs_work=True) as heartbeat:
        inbox.monitor.run(stop, heartbeat.goes_on, lambda: None)
    assert len(inbox.queued) == 100


@pytest.mark.parametrize("walked", [False, True])
def test_a_scan_stops_between_two_groups(
    make_inbox: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch, walked: bool
) -> None:
    inbox, stop = make_inbox(), threading.Event()
    for number in range(70):
        inbox.drop(f"{number}.jpg", jpeg(number))
    accept, scan = inbox.acceptor.accept, inbox.monitor._scan

    def accept_and_stop(files: Sequence[Candidate], **more: Any) -> object:
        accepted = accept(files, **more)
        stop.set()
        return accepted

    def stop_and_scan() -> Iterator[tuple[str, os.stat_result]]:
        stop.set()
        return scan()

    inbox.monitor.scan_once()
    monkeypatch.setattr(inbox.acceptor, "accept", accept_and_stop)
    if not walked:
        monkeypatch.setattr(inbox.monitor, "_scan", stop_and_scan)
    inbox.monitor.run(stop, lambda: None, lambda: None)
    assert len(inbox.queued) == (32 if walked else 0)
    assert len(list(inbox.folder.iterdir())) == 70 - len(inbox.queued)
