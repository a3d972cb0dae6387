"""`nightread db check`: whether database, store and inbox agree, and the repair of what needs no person."""

from __future__ import annotations

from worker.config import Settings
from worker.intake.reconcile import Reconciler
from worker.ledger import maintenance, tallies
from worker.ledger.maintenance import CheckResult
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.report.text import printable
from worker.store import open_store

_NAMES_SHOWN = 20


def check_all(settings: Settings, *, read_bytes: bool) -> list[CheckResult]:
    """All results; of a database with another schema that alone."""
    ledger = Ledger(settings.database)
    results = maintenance.check(ledger)
    if not results[0].ok:
        return results
    return results + Reconciler(settings, ledger, open_store(settings)).compare(read_bytes=read_bytes)


def repair_all(settings: Settings) -> list[str]:
    """A sentence for each kind of thing that was repaired. Raises SchemaOutdated or TransientFailure."""
    ledger = open_ledger(settings.database)
    with ledger.transaction() as session:
        counted = tallies.repair(session)
    tallied = [f"{counted} tallies that differed from the rows counted anew"] if counted else []
    return tallied + Reconciler(settings, ledger, open_store(settings)).repair()


def as_text(result: CheckResult) -> str:
    """The result for people, with the first of its names."""
    lines = [f"{'ok   ' if result.ok else 'WRONG'}  {result.what}"]
    lines += [f"         {printable(name)}" for name in result.names[:_NAMES_SHOWN]]
    more = len(result.names) - _NAMES_SHOWN
    return "\n".join([*lines, f"         and {more} more"] if more > 0 else lines)
