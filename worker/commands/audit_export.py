"""`nightread audit export`: write the audit trail for other programs, and record that."""

from __future__ import annotations

from collections.abc import Iterator

from worker.ledger import accesses, actors, trail
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.trail import TrailFilter
from worker.trail_export.formats import FORMATS


def export(ledger: Ledger, format_name: str, wanted: TrailFilter) -> Iterator[str]:
    """Record the export, then return the pieces of its text. Raises TransientFailure if it cannot be recorded."""
    actor = actors.operating_system_user()
    with ledger.transaction() as session:
        access = Access(AccessKind.TRAIL, actor, wanted.image_id, code=f"export:{format_name}")
        accesses.record(session, access, ledger_time(session))
    return FORMATS[format_name].write(trail.entries(ledger, wanted))
