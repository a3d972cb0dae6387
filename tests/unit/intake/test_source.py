"""Nobody else can exchange, change or keep what was taken from the inbox."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files import jpeg
from tests.unit.intake.test_accept import Intake, intake
from worker.intake.accept import Accepted
from worker.intake.source import BeingWritten, Candidate, arrival_key, open_source
from worker.intake.watcher import files_below
from worker.ledger.states import Lane, Outcome, Source

__all__ = ["intake"]  # the fixture

STRANGER = 12_345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")


def accept(intake: Intake, *candidates: Candidate) -> list[Accepted]:
    return intake.acceptor.accept(candidates, source=Source.FOLDER, lane=Lane.OVERNIGHT)


def stored(intake: Intake, data: bytes) -> Path:
    return intake.store.path(hashlib.sha256(data).hexdigest())


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside of the inbox, in a folder of its own."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "a.jpg").write_bytes(jpeg(9))
    return tmp_path / "victim" / "a.jpg"


@pytest.fixture
def nested(intake: Intake) -> Candidate:
    """A file in a folder of the inbox, as a scan saw it."""
    (intake.inbox / "folder").mkdir()
    intake.file("folder/a.jpg", jpeg(1))
    (candidate,) = files_below(intake.inbox)
    return candidate


def swap(intake: Intake, victim: Path) -> None:
    (intake.inbox / "folder").rename(intake.inbox / ".away")
    (intake.inbox / "folder").symlink_to(victim.parent)


def test_a_folder_exchanged_for_a_link_after_the_scan_is_not_read(
    intake: Intake, nested: Candidate, victim: Path
) -> None:
    swap(intake, victim)
    assert accept(intake, nested) == []
    assert accept(intake, Candidate(nested.path, nested.name, nested.root)) == []
    assert victim.read_bytes() == jpeg(9)
    assert list(intake.store.hashes()) == []


def test_a_folder_exchanged_after_the_commit_loses_no_other_file(
    intake: Intake, nested: Candidate, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        intake.during_the_commit(patch, lambda: swap(intake, victim))
        assert len(accept(intake, nested)) == 1
    assert victim.read_bytes() == jpeg(9)


def test_another_file_under_the_same_name_waits_for_the_next_scan(
    intake: Intake, nested: Candidate, victim: Path
) -> None:
    os.link(victim, intake.inbox / "other.jpg")
    (intake.inbox / "other.jpg").rename(nested.path)
    assert accept(intake, nested) == []
    assert nested.path.exists()


@pytest.mark.parametrize("name", ["../victim/a.jpg", "folder/../../victim/a.jpg"])
def test_no_path_leads_out_of_the_inbox(intake: Intake, nested: Candidate, victim: Path, name: str) -> None:
    outside = Candidate(intake.inbox / name, name, intake.inbox)
    assert accept(intake, outside) == []
    assert victim.exists()


def test_our_own_file_is_linked_and_becomes_read_only(intake: Intake) -> None:
    inode = intake.file("a.jpg", jpeg(1)).stat().st_ino
    intake.accept(intake.inbox / "a.jpg")
    status = stored(intake, jpeg(1)).stat()
    assert stat.S_IMODE(status.st_mode) == 0o400
    assert (status.st_ino == inode) == (sys.platform == "linux")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_to_is_copied(intake: Intake, mode: int) -> None:
    path = intake.file("a.jpg", jpeg(1))
    path.chmod(mode)
    inode = path.stat().st_ino
    intake.accept(path)
    status = stored(intake, jpeg(1)).stat()
    assert status.st_ino != inode
    assert stat.S_IMODE(status.st_mode) == 0o400


@as_root
def test_the_owner_of_a_dropped_file_cannot_change_the_stored_one(intake: Intake) -> None:
    path = intake.file("a.jpg", jpeg(1))
    os.chown(path, STRANGER, STRANGER)
    with path.open("r+b") as kept_open:
        os.fchmod(kept_open.fileno(), 0o644)
    kept = os.open(path, os.O_RDONLY)
    intake.accept(path)
    status = stored(intake, jpeg(1)).stat()
    assert (status.st_uid, status.st_nlink) == (os.geteuid(), 1)
    assert status.st_ino != os.fstat(kept).st_ino
    os.close(kept)


# A process of its own: a test must not depend on what this process has open.
_WRITER = """
import sys
with open(sys.argv[1], "r+b") as file:
    print("open", flush=True)
    sys.stdin.readline()
    file.seek(0, 2)
    file.write(b"the end")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_a_file_that_is_open_for_writing_is_waited_for(intake: Intake) -> None:
    path = intake.file("a.jpg", jpeg(1))
    command = [sys.executable, "-c", _WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        assert intake.accept(path) == []
        assert intake.accept(path, source=Source.IMPORT, keep_source=True) == []
        assert path.exists()
        writer.communicate("go on\n")
    (accepted,) = intake.accept(path)
    assert accepted.outcome is Outcome.NEW
    assert stored(intake, jpeg(1) + b"the end").read_bytes() == jpeg(1) + b"the end"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_a_writer_cannot_open_the_file_between_check_and_link(intake: Intake) -> None:
    path = intake.file("a.jpg", jpeg(1))
    with open_source(Candidate(path, "a.jpg")) as source:
        assert source.make_private()
        with pytest.raises(BlockingIOError):
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_a_file_with_a_writer_is_never_linked(intake: Intake) -> None:
    path = intake.file("a.jpg", jpeg(1))
    with path.open("r+b"), open_source(Candidate(path, "a.jpg")) as source:
        assert not source.make_private()
        with pytest.raises(BeingWritten):
            source.check_writers()


def test_a_file_that_another_watcher_reads_is_left_to_it(intake: Intake) -> None:
    candidate = Candidate(intake.file("a.jpg", jpeg(1)), "a.jpg")
    with open_source(candidate, locked=True):
        assert accept(intake, candidate) == []
    assert [accepted.outcome for accepted in accept(intake, candidate)] == [Outcome.NEW]


def test_a_private_file_stays_the_same_arrival(intake: Intake) -> None:
    candidate, keys = Candidate(intake.file("a.jpg", jpeg(1)), "a.jpg"), set()
    for _ in range(2):
        with open_source(candidate, locked=True) as opened:
            assert opened.make_private()
            keys.add(arrival_key("a.jpg", opened.current_status()))
    assert len(keys) == 1
