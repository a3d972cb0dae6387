"""The limits of a browser's session, after which its person must sign in again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Limits:
    """The longest durations of a session: in all, and without use."""

    absolute: timedelta
    idle: timedelta

    def are_met(self, started_at: datetime, seen_at: datetime, at: datetime) -> bool:
        """Return whether a session that began and was last used at these times is still valid at `at`."""
        return at < started_at + self.absolute and at < seen_at + self.idle


@dataclass(frozen=True)
class SessionLimits:
    """The limits for everybody, and those for administrators."""

    everybody: Limits
    administrators: Limits
