"""Decodes DICOM objects in a bounded process of its own, which is kept for the next object and replaced when it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from worker.decoder_environment import decoder_environment
from worker.dicom.facts import GreyFacts
from worker.dicom.process import ANSWER_HEAD, OBJECT_HEAD
from worker.errors import REJECTIONS, RejectedImage, TransientFailure

if TYPE_CHECKING:
    from worker.config import Settings

# A machine that does other work, too, gives a process less than a processor.
_WALL_TIMES = 3
_DAMAGED_ANSWER = (KeyError, TypeError, ValueError)
# A process whose pipe is broken is ending; one that answered nonsense is ended after this time.
_ENDING_S = 5.0
# Of glibc (mallopt(3)): the process keeps so many free bytes, also of the arrays of a picture, for the next object. The kernel
# clears each page that it gets anew, which took a third of the time of an object.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(128 * 1024**2)}
# After these the process has died, or may have lost memory.
_FAILURES = frozenset({"dicom_needs_memory", "dicom_needs_time", "dicom_decoder_failed"})


@dataclass(frozen=True)
class Bounds:
    """The limits of the process: bytes of address space; seconds of processor and of wall time for each object."""

    memory_bytes: int
    cpu_s: float
    wall_s: float


def bounds_of(settings: Settings) -> Bounds:
    """Return the limits that the settings name."""
    return Bounds(settings.dicom_memory_bytes, settings.dicom_s, _WALL_TIMES * settings.dicom_s)


@dataclass(frozen=True)
class Grey:
    """What is scored: grey values 0 black .. 255 white, shape (rows, columns), and how they came about."""

    grey8: NDArray[np.uint8]
    facts: GreyFacts


class Decoder:
    """Decodes objects one after the other, for one thread. The process is started with the first object."""

    def __init__(self, bounds: Bounds) -> None:
        """Keep these bounds."""
        self._bounds = bounds
        self._process: _Process | None = None

    def decode(self, data: bytes) -> Grey:
        """Decode the bytes of an object.

        Raises:
            RejectedImage: it cannot be decoded within the bounds, or its grey values are not known.
            TransientFailure: the process was stopped from outside, or the machine is too busy.
        """
        used = self._process is not None
        try:
            return self._decode(data)
        except RejectedImage as rejected:
            # What earlier objects left behind must not decide about this one.
            if not (used and rejected.code in _FAILURES):
                raise
        except TransientFailure:
            if not used:
                raise
        return self._decode(data)

    def close(self) -> None:
        """End the process. The next object starts another."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _decode(self, data: bytes) -> Grey:
        self._process = self._process or _Process(self._bounds)
        try:
            return self._process.decode(data)
        except RejectedImage as rejected:
            if rejected.code in _FAILURES:
                self.close()
            raise
        except BaseException:
            self.close()
            raise


class _Process:
    """One bounded process."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._popen = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "worker.dicom.process",
                str(bounds.memory_bytes),
                str(bounds.cpu_s),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A decoder may print what stands in the object.
            stderr=subprocess.DEVNULL,
            env=decoder_environment() | _ALLOCATION,
            # Ctrl-C does not reach it; it ends with its input.
            process_group=0,
        )
        self.end = weakref.finalize(self, _end, self._popen)

    def decode(self, data: bytes) -> Grey:
        """Decode an object. Raises RejectedImage or TransientFailure."""
        late = threading.Event()
        # Reading and writing block for as long as the process lives.
        timer = threading.Timer(self._bounds.wall_s, _stop, (self._popen, late))
        timer.daemon = True
        timer.start()
        try:
            document, values = self._exchange(data)
            return _grey(document, values)
        except (OSError, EOFError, *_DAMAGED_ANSWER):
            raise _failure(_status(self._popen), late=late.is_set()) from None
        finally:
            timer.cancel()

    def _exchange(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        source = cast("BinaryIO", self._popen.stdin)
        source.write(OBJECT_HEAD.pack(len(data)))
        source.write(data)
        source.flush()
        (length,) = ANSWER_HEAD.unpack(self._read(ANSWER_HEAD.size))
        document = json.loads(self._read(length))
        rows, columns = document.get("shape", (0, 0))
        return document, self._read(rows * columns)

    def _read(self, count: int) -> bytes:
        data = cast("BinaryIO", self._popen.stdout).read(count)
        if len(data) < count:
            raise EOFError
        return data


def _grey(document: dict[str, Any], values: bytes) -> Grey:
    if "fault" in document:
        raise TransientFailure(f"decoding a DICOM object failed: {document['fault']}")
    if "code" in document:
        if document["code"] not in REJECTIONS:
            raise KeyError(document["code"])
        raise RejectedImage(document["code"], **document["detail"])
    shape = tuple(document["shape"])
    return Grey(np.frombuffer(values, dtype=np.uint8).reshape(shape), GreyFacts.from_dict(document["facts"]))


def _failure(status: int, *, late: bool) -> Exception:
    """Return what the end of the process means for the object."""
    if late:
        return TransientFailure("decoding a DICOM object was not done in time: the machine is too busy")
    if status == -signal.SIGKILL:
        # By the kernel when memory is short, or by a person.
        return TransientFailure("decoding a DICOM object was stopped by the system")
    return RejectedImage("dicom_needs_time" if status == -signal.SIGXCPU else "dicom_decoder_failed")


def _stop(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _status(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process that failed, and return its exit status."""
    try:
        return process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
