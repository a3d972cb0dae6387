"""Records what a command shows or writes, before it does so, under the number of the system's user."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from worker.errors import WrongSettings
from worker.ledger import accesses, actors
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.session import Ledger, is_forbidden, ledger_time

_ONLY_READS = (
    "NIGHTREAD_DATABASE_URL: this role of the database may only read. Nothing is written that cannot be put on record. "
    "Use the role of the application."
)


def record(
    ledger: Ledger, kind: AccessKind, code: str, *, image_id: int | None = None, run_id: int | None = None
) -> None:
    """Record an access by whoever runs this command.

    Raises:
        WrongSettings: the role of the database may only read.
        TransientFailure: it cannot be recorded now.
    """
    access = Access(kind, actors.operating_system_user(), image_id, run_id, code)
    try:
        with ledger.transaction() as session:
            accesses.record(session, access, ledger_time(session))
    except DBAPIError as error:
        if is_forbidden(error):
            raise WrongSettings(_ONLY_READS) from None
        raise
