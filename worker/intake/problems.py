"""Counts the files that a scan could not accept or remove, by reason, for the status document."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

_UNREADABLE = "that cannot be read"
_UNREMOVABLE = "that have their receipt but cannot be removed"
_UNFINISHED = "that wait"
_WRONG_SIDECAR = "identity.csv that must be corrected"
_OPEN = "another program still has the file open for writing"


class Problems:
    """Files and folders that one scan could not accept or remove, by reason. Holds no names."""

    def __init__(self, is_overdue: Callable[[str], bool] = lambda _: True) -> None:
        """Start without a problem. `is_overdue` says whether a file of this name has waited too long for its writer."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._is_overdue = is_overdue

    def unreadable(self, error: OSError) -> None:
        """Count a file or folder that cannot be read."""
        self._counts[_UNREADABLE, _reason(error)] += 1

    def unremovable(self, error: OSError) -> None:
        """Count a file that has its receipt but stays in the inbox."""
        self._counts[_UNREMOVABLE, _reason(error)] += 1

    def held_open(self, name: str) -> None:
        """Count a file that waits because a process has it open for writing, if it has waited too long."""
        if self._is_overdue(name):
            self._counts[_UNFINISHED, _OPEN] += 1

    def wrong_sidecar(self, what: str) -> None:
        """Count a sidecar with wrong lines; `what` names them by their numbers."""
        self._counts[_WRONG_SIDECAR, what] += 1

    def text(self) -> str | None:
        """Return number and reason of each kind of problem; None if there is none."""
        parts = [f"{count} {kind} ({reason})" for (kind, reason), count in sorted(self._counts.items())]
        return ", ".join(parts) or None


def _reason(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
