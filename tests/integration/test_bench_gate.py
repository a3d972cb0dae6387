"""`make bench-gate`: two real programs at the same time, with few images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.config import ROOT
from worker.phantom import write_phantom


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        write_phantom(folder / f"{number}.jpg", number)
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.gate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_gate_runs_a_commit_and_the_working_tree(images: Path) -> None:
    completed = run("HEAD", "--images", images, "--count", "20", "--pairs", "1")
    assert completed.stdout.splitlines()[2].startswith("pair 1"), completed.stderr
    assert len(completed.stdout.splitlines()) == 5
    # So few images say nothing about the speed.
    assert completed.stderr in {"", "Error: This program is slower than HEAD.\n"}


def test_unknown_commit_is_named(images: Path) -> None:
    completed = run("no-such-commit", "--images", images)
    assert completed.returncode == 1
    assert "no-such-commit" in completed.stderr
    assert "Traceback" not in completed.stderr
