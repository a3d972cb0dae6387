"""Starts the bounded process for one file, and waits for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import BinaryIO

from worker.decoder_environment import decoder_environment
from worker.renditions.process import FAULT, REFUSED

_POLL_S = 0.05
_LONGEST_SENTENCE = 500


class NoRendition(Exception):  # noqa: N818 - an outcome, not an error
    """The file cannot be shown; the message is a sentence. `lasting` is True if another try would fail, too."""

    def __init__(self, sentence: str, *, lasting: bool) -> None:
        self.sentence, self.lasting = sentence, lasting
        super().__init__(sentence)


@dataclass(frozen=True)
class Bounds:
    """The limits of one bounded process: bytes of address space, seconds of processor and of wall time, pixels.

    `niceness` 19 leaves the processors to all others (nice(2)).
    """

    memory_bytes: int
    cpu_s: float
    wall_s: float
    max_pixels: int
    niceness: int = 0


def make_pack(
    source: BinaryIO, target: BinaryIO, sha256: str, bounds: Bounds, stop: threading.Event | None = None
) -> None:
    """Write the pack of `source` to `target`, both files on disk. The source must have this SHA-256.

    Raises:
        NoRendition: the file cannot be shown, takes too long or needs too much memory; or `stop` was set.
    """
    numbers = (bounds.memory_bytes, max(1, round(bounds.cpu_s)), bounds.niceness, bounds.max_pixels)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "worker.renditions.process", sha256, *map(str, numbers)],
        stdin=source,
        stdout=target,
        stderr=subprocess.PIPE,
        env=decoder_environment(),
        # Ctrl-C does not reach it. In a session of its own, some kernels would ignore its niceness (autogroup, sched(7)).
        process_group=0,
    )
    with process:
        try:
            _wait(process, bounds.wall_s, stop)
        except BaseException:
            process.kill()
            raise
        message = process.stderr.read(_LONGEST_SENTENCE) if process.stderr else b""
    if process.returncode != 0:
        raise _refusal(process.returncode, message.decode("utf-8", "replace").strip())


def _wait(process: subprocess.Popen[bytes], wall_s: float, stop: threading.Event | None) -> None:
    until = time.monotonic() + wall_s
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until or (stop is not None and stop.is_set()):
                raise NoRendition("The picture was not ready in time. Try again.", lasting=False) from None
        else:
            return


def _refusal(status: int, message: str) -> NoRendition:
    if status == REFUSED:
        return NoRendition(message, lasting=True)
    if status == FAULT:
        return NoRendition("The image store cannot read this image, or the disk is full.", lasting=False)
    if status == -signal.SIGXCPU:
        return NoRendition("The image takes too long to decode, so it is not shown.", lasting=True)
    if status == -signal.SIGKILL:
        # By the kernel when memory is short, or by a person.
        return NoRendition("Decoding the image was stopped by the system.", lasting=False)
    return NoRendition("The image cannot be shown: its decoder failed.", lasting=True)
