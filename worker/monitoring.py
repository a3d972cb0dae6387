"""Keeps the counts of the monitor up to date, a few days at a time, and looks for what has changed.

The sweeper calls it. It reads in one transaction and writes in another one, which is short and leaves the audit trail
alone, so nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.ledger import monitor_counts, monitoring
from worker.ledger.session import Ledger, ledger_time

# Seconds between two rounds, and how many times as long as a round took the next one waits at least.
_PERIOD_S, _REST = 60.0, 20.0
# Days that are counted in one transaction.
_DAYS = 7


@dataclass(frozen=True)
class Step:
    """What a step of counting did: the days that it counted, and those that are left."""

    counted: int
    left: int


class Monitoring:
    """Counts in the rounds of the sweeper."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep the ledger; nothing is read yet."""
        self._ledger = ledger
        self._next = time.monotonic()

    def run_some(self) -> None:
        """Count some days if it is time. Raises TransientFailure."""
        began = time.monotonic()
        if began < self._next:
            return
        step = count_some(self._ledger)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_REST * took, 0.0 if step.left else _PERIOD_S)


def count_some(ledger: Ledger) -> Step:
    """Count the next days whose images have changed. If another process has counted meanwhile, its counts stay.

    Raises TransientFailure.
    """
    with ledger.reading() as session:
        at = ledger_time(session)
        before = monitoring.mark(session)
        after = monitoring.advance(session, before)
        days = after.stale[:_DAYS]
        counted = monitor_counts.count_days(session, days)
    after = after.without(days)
    if after != before:
        with ledger.transaction() as session:
            monitoring.keep(session, before, after, counted, at)
    return Step(len(days), len(after.stale))


def count_all(ledger: Ledger, advance: Callable[[int, int], None] = lambda _counted, _left: None) -> None:
    """Count until no day is left. `advance` is called with the days that a step counted and those that are left."""
    while True:
        step = count_some(ledger)
        advance(step.counted, step.left)
        if not step.left:
            return


def rebuild(ledger: Ledger, advance: Callable[[int, int], None] = lambda _counted, _left: None) -> None:
    """Count every day anew. Raises TransientFailure; the sweeper then goes on where this stopped."""
    with ledger.transaction() as session:
        monitoring.begin(session, ledger_time(session))
    count_all(ledger, advance)
