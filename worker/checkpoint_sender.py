"""Sends the file of checkpoints off this machine: runs the command of the setting after each new checkpoint."""

from __future__ import annotations

import shlex
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from worker.errors import TransientFailure

_PLACEHOLDER = "{file}"
_TIMEOUT_S = 60.0
_RETRY_S = 60.0
_SHOWN = 200


class CheckpointSender:
    """Runs a command without waiting for it. After a failure it runs the command again each minute."""

    def __init__(self, command: str, file: Path, *, retry_s: float = _RETRY_S) -> None:
        """Send `file` with `command`, in which `{file}` stands for its path; without `{file}`, the path comes last.

        Nothing is ever sent with an empty command. No shell interprets the command.
        """
        words = shlex.split(command)
        path = str(file)
        self._command = [word.replace(_PLACEHOLDER, path) for word in words]
        if words and not any(_PLACEHOLDER in word for word in words):
            self._command.append(path)
        self._retry_s = retry_s
        self._requested = bool(words) and file.exists()
        self._start_at = self._deadline = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = ExitStack()
        self._output: IO[bytes] | None = None
        self._failure: str | None = None

    def request(self) -> None:
        """Note that there is a new checkpoint to send."""
        self._requested = bool(self._command)

    def poll(self) -> None:
        """Start the command if it is due, or look whether it has ended. Does not wait.

        Raises TransientFailure while the last attempt has failed.
        """
        now = time.monotonic()
        if self._process is not None:
            self._look(self._process, now)
        elif self._requested and now >= self._start_at:
            self._start(now)
        if self._failure:
            raise TransientFailure(f"the checkpoints could not be sent: {self._failure}")

    def _start(self, now: float) -> None:
        self._requested = False
        self._output = self._stderr.enter_context(TemporaryFile())  # noqa: SIM115 - `_end` closes it
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._output
            )
        except OSError as error:
            self._end(now, f"{self._command[0]} cannot be run: {error.strerror}")
        else:
            self._deadline = now + _TIMEOUT_S

    def _look(self, process: subprocess.Popen[bytes], now: float) -> None:
        status = process.poll()
        if status == 0:
            self._end(now, None)
        elif status is not None:
            self._end(now, f"{self._command[0]} ended with status {status}: {self._last_line()}")
        elif now > self._deadline:
            process.kill()
            process.wait()
            self._end(now, f"{self._command[0]} took longer than {_TIMEOUT_S:.0f} s")

    def _end(self, now: float, failure: str | None) -> None:
        self._process, self._failure = None, failure
        self._requested |= failure is not None
        self._start_at = now + self._retry_s if failure else now
        self._stderr.close()

    def _last_line(self) -> str:
        """Return the last line that the command wrote to stderr."""
        if self._output is None:
            return ""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")[:_SHOWN]
