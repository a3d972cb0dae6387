"""Counts the files that a scan could not read or remove, by reason, for the status document."""

from __future__ import annotations

import os
from collections import Counter

_UNREADABLE = "that cannot be read"
_UNREMOVABLE = "that have their receipt but cannot be removed"


class Problems:
    """Files and folders that one scan could not read or remove, by the system's reason. Holds no names."""

    def __init__(self) -> None:
        """Start without a problem."""
        self._counts: Counter[tuple[str, str]] = Counter()

    def unreadable(self, error: OSError) -> None:
        """Count a file or folder that cannot be read."""
        self._counts[_UNREADABLE, _reason(error)] += 1

    def unremovable(self, error: OSError) -> None:
        """Count a file that has its receipt but stays in the inbox."""
        self._counts[_UNREMOVABLE, _reason(error)] += 1

    def sentence(self) -> str | None:
        """Return a text with number and reason of each kind of problem; None if there is none."""
        parts = [f"{count} {kind} ({reason})" for (kind, reason), count in sorted(self._counts.items())]
        return f"files and folders in the inbox: {', '.join(parts)}" if parts else None


def _reason(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
