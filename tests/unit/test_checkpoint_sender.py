"""worker.checkpoint_sender: checkpoints leave the machine, and a failure is told until it works again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import wait_for
from worker import checkpoint_sender
from worker.checkpoint_sender import CheckpointSender
from worker.errors import TransientFailure


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "checkpoints.jsonl"
    path.parent.mkdir()
    path.write_text("first")
    return path


def failure_of(sender: CheckpointSender) -> str | None:
    try:
        sender.poll()
    except TransientFailure as failure:
        return str(failure)
    return None


def poll_until_text(sender: CheckpointSender, copy: Path, text: str) -> None:
    def is_copied() -> bool:
        assert failure_of(sender) is None
        return copy.exists() and copy.read_text() == text

    wait_for(is_copied)


@pytest.mark.parametrize("command", ["cp {file} COPY", "cp --target-directory=FOLDER"])
def test_each_checkpoint_is_sent(file: Path, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    copy = folder / file.name
    sender = CheckpointSender(command.replace("COPY", str(copy)).replace("FOLDER", str(folder)), file)
    poll_until_text(sender, copy, "first")
    file.write_text("second")
    sender.request()
    poll_until_text(sender, copy, "second")


def test_failed_command_is_told_and_tried_again(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "away"
    sender = CheckpointSender(f"cp {{file}} {folder}/copy", file, retry_s=0.01)
    wait_for(lambda: "No such file or directory" in (failure_of(sender) or ""))
    assert "could not be sent: cp ended with status 1: " in (failure_of(sender) or "")
    folder.mkdir()
    wait_for(lambda: failure_of(sender) is None)
    assert (folder / "copy").read_text() == "first"


def test_missing_program_is_told(file: Path) -> None:
    sender = CheckpointSender("no-such-program-here", file)
    assert failure_of(sender) is not None
    assert "no-such-program-here cannot be run: No such file" in (failure_of(sender) or "")


def test_command_that_hangs_is_stopped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_sender, "_TIMEOUT_S", 0.05)
    sender = CheckpointSender(f"{sys.executable} -c 'import time; time.sleep(600)'", file)
    wait_for(lambda: "took longer" in (failure_of(sender) or ""))


def test_nothing_is_sent_without_a_command_or_a_file(file: Path, tmp_path: Path) -> None:
    unset = CheckpointSender("", file)
    unset.request()
    early = CheckpointSender("no-such-program-here", tmp_path / "not yet")
    assert (failure_of(unset), failure_of(early)) == (None, None)
