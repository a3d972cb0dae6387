"""Watches the memory of a program's processes while a measurement runs."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.measures import peak_rss_mb

# A look costs some milliseconds: ten in a second took a tenth of the throughput.
_EVERY_S = 1.0
_QUARTER = 0.25
# Sets the peak of a process to its present size (proc(5), /proc/pid/clear_refs).
_RESET_PEAK = "5"


@dataclass(frozen=True)
class _Look:
    """The peak of one process since the look before, in MB. `at`: seconds of the monotonic clock."""

    at: float
    kind: str
    mb: float


class MemoryOverTime:
    """Looks at the processes below a supervisor once a second, while its block runs."""

    def __init__(self, supervisor: psutil.Process) -> None:
        """Watch this process and all that it starts."""
        self._supervisor = supervisor
        self._looks: list[_Look] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._start = self._end = 0.0

    def __enter__(self) -> Self:
        """Begin; what the processes needed to start does not count."""
        self._look()
        self._looks.clear()
        self._start = time.monotonic()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look once more."""
        self._ended.set()
        self._thread.join()
        self._end = time.monotonic()
        self._look()

    def peaks(self) -> dict[str, dict[str, float]]:
        """Return the peak of the largest process of each kind in the first and in the last quarter of the time, in MB."""
        quarter = _QUARTER * (self._end - self._start)
        ends = {
            "first_quarter_mb": [look for look in self._looks if look.at <= self._start + quarter],
            "last_quarter_mb": [look for look in self._looks if look.at >= self._end - quarter],
        }
        return {
            kind: {
                name: round(max((look.mb for look in looks if look.kind == kind), default=0.0), 1)
                for name, looks in ends.items()
            }
            for kind in sorted({look.kind for look in self._looks})
        }

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        at = time.monotonic()
        with suppress(psutil.NoSuchProcess):
            for process in (self._supervisor, *self._supervisor.children(recursive=True)):
                with suppress(psutil.Error):
                    self._looks.append(_Look(at, _kind(process), peak_rss_mb(process)))
                with suppress(OSError):
                    Path(f"/proc/{process.pid}/clear_refs").write_text(_RESET_PEAK)


def _kind(process: psutil.Process) -> str:
    """Return what a process does: the name of its command, or `scoring`, `decoder`, `rendition` or `valkey`."""
    arguments = process.cmdline() or [process.name()]
    modules = {"worker.dicom.process": "decoder", "worker.renditions.process": "rendition"}
    for module, kind in modules.items():
        if module in arguments:
            return kind
    if "worker.cli" not in arguments:
        return "valkey" if "valkey" in arguments[0] else Path(arguments[0]).name
    parent = process.parent()
    if parent is not None and arguments[-1] == "worker" and "worker" in (parent.cmdline() or [""])[-1:]:
        return "scoring"
    return arguments[-1]
