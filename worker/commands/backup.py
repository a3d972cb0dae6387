"""`nightread db backup`: copy the database, and record that as an export."""

from __future__ import annotations

from pathlib import Path

from worker.commands import access
from worker.ledger import maintenance
from worker.ledger.accesses import AccessKind
from worker.ledger.session import Ledger


def write(ledger: Ledger, target: Path) -> None:
    """Copy the database to a new file, after this export was recorded. The copy holds the record, too.

    Raises:
        BackupFailed: see `worker.ledger.maintenance`.
        WrongSettings, TransientFailure: it cannot be recorded; see `worker.commands.access`.
    """
    maintenance.check_target(target)
    access.record(ledger, AccessKind.EXPORT, "backup")
    maintenance.backup(ledger, target)
