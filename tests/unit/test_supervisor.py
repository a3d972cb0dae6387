"""worker.supervisor: the pauses between restarts."""

from __future__ import annotations

import subprocess
import time

import pytest
from structlog.testing import capture_logs

from worker.supervisor import _Child


def pause_after_an_end(child: _Child) -> float:
    """Let the supervisor notice that the process ended; the pause in seconds before it starts it again."""
    child.process = subprocess.Popen(["false"])
    child.process.wait()
    child.started = before = time.monotonic()
    with capture_logs() as entries:
        child.restart_if_ended({})
    assert child.process is None, "it was started again without a pause"
    pause_s: float = entries[0]["again_in_s"]
    assert before + pause_s <= child.next_start <= time.monotonic() + pause_s
    return pause_s


@pytest.mark.parametrize(
    ("longest_pause_s", "expected"), [(30.0, [1, 2, 4, 8, 16, 30, 30]), (0.5, [0.5, 0.5, 0.5])]
)
def test_restart_pause_doubles_up_to_the_setting(longest_pause_s: float, expected: list[float]) -> None:
    child = _Child("watch", longest_pause_s)
    assert [pause_after_an_end(child) for _ in expected] == expected


def test_restart_pause_is_short_again_after_a_steady_minute() -> None:
    child = _Child("watch", 30.0)
    assert [pause_after_an_end(child) for _ in range(3)] == [1, 2, 4]
    child.process = subprocess.Popen(["false"])
    child.process.wait()
    child.started = time.monotonic() - 61
    with capture_logs() as entries:
        child.restart_if_ended({})
    assert entries[0]["again_in_s"] == 1
