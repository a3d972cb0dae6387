"""Appends an event to the audit trail for each batch of accesses: who saw what becomes part of the chain."""

from __future__ import annotations

from datetime import timedelta

from worker.ledger import access_batches
from worker.ledger.session import Ledger, ledger_time

# An access becomes part of the chain this long after it happened, at most, plus one round of the sweeper.
MAX_AGE_S = 60.0


def chain_accesses(ledger: Ledger, max_age_s: float = MAX_AGE_S) -> int:
    """Append batches if an access that no batch covers is older than `max_age_s`. Return the number of their rows.

    The rows are read and hashed before the chain is locked. Of two processes that do this at once, one does it.
    """
    with ledger.reading() as session:
        oldest = access_batches.oldest_unchained(session)
        if oldest is None or ledger_time(session) - oldest < timedelta(seconds=max_age_s):
            return 0
    with ledger.transaction(without_fsync=True) as session:
        up_to = access_batches.last_final_id(session)
    chained = 0
    while up_to and (rows := _chain_batch(ledger, up_to)):
        chained += rows
    return chained


def _chain_batch(ledger: Ledger, up_to: int) -> int:
    with ledger.reading() as session:
        after = access_batches.last_chained_id(session)
        digest = access_batches.digest_of(session, after, up_to)
    if not digest.total:
        return 0
    with ledger.transaction() as session:
        appended = access_batches.append(session, after, digest, ledger_time(session))
    return digest.total if appended else 0
