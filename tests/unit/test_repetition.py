"""Signals that stop work which a process repeats."""

from __future__ import annotations

import signal
import subprocess
import sys

WAITS_TWICE = """
import os, signal
from worker.stopping import stopping_on_signals
with stopping_on_signals() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    print("stopped" if stop.wait(60) else "no signal", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("the second signal was lost")
"""


def test_signal_after_the_wait_ends_the_process() -> None:
    """A worker that has waited for its model loads it next: a signal then must not be kept for the wait that is over."""
    done = subprocess.run([sys.executable, "-c", WAITS_TWICE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("stopped\n", -signal.SIGTERM), done.stderr
