"""`nightread audit export`: write the audit trail for other programs, and record that."""

from __future__ import annotations

from collections.abc import Iterator

from worker.commands import access
from worker.ledger import trail
from worker.ledger.accesses import AccessKind
from worker.ledger.session import Ledger
from worker.ledger.trail import TrailFilter
from worker.trail_export.formats import FORMATS


def export(ledger: Ledger, format_name: str, wanted: TrailFilter) -> Iterator[str]:
    """Record the export, then return the pieces of its text.

    Raises WrongSettings, TransientFailure if it cannot be recorded; see `worker.commands.access`.
    """
    access.record(ledger, AccessKind.TRAIL, f"export:{format_name}", image_id=wanted.image_id)
    return FORMATS[format_name].write(trail.entries(ledger, wanted))
