"""`nightread report`: read the morning report of a run, and record that."""

from __future__ import annotations

from worker.commands import access
from worker.ledger.accesses import AccessKind
from worker.ledger.session import Ledger
from worker.report.content import Report, read_report
from worker.report.formats import WHOLE


def read(ledger: Ledger, run_name: str | None, format_name: str) -> Report:
    """Return the report of a run, or of the latest one, after its export was recorded.

    Raises:
        LookupError: there is no such run.
        WrongSettings, TransientFailure: it cannot be recorded; see `worker.commands.access`.
    """
    with ledger.reading() as session:
        content = read_report(session, run_name, whole=format_name in WHOLE)
    access.record(ledger, AccessKind.EXPORT, format_name, run_id=content.figures.run.id)
    return content
