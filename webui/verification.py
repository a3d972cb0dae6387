"""Verifies the audit trail when an auditor asks for it: one verification at a time, in a process of its own.

It takes minutes with a million images. In this process, it would slow every page meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

_LOWEST_PRIORITY = 19
# Exit statuses of the command: all is well, or it found a problem. The trail then says which.
_FINISHED = {0, 1}


class Verification:
    """The verification that runs now, or the last one that was started here."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, record: Callable[[], int]) -> bool:
        """Start one, unless one is running. Return whether it was started.

        `record` puts on record that it begins, and returns the number of that event, as `asked_in` of
        `worker.commands.verify`. Of two requests at the same moment, only one is recorded.
        """
        with self._lock:
            if self.is_running:
                return False
            asked_in = record()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.cli", "audit", "verify", "--asked-in", str(asked_in)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST_PRIORITY)
            return True

    @property
    def is_running(self) -> bool:
        """Whether a verification is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_failed(self) -> bool:
        """Whether the last verification ended without a result."""
        return self._process is not None and self._process.poll() not in {None, *_FINISHED}
