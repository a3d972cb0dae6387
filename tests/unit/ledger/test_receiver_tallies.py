"""worker.ledger.receiver_tallies: counts that several receivers add to."""

from __future__ import annotations

from worker.ledger.receiver_tallies import OF_OBJECTS, Kind, add, totals
from worker.ledger.session import Ledger


def test_counts_add_up(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert set(totals(session).values()) == {0}
    for counts in ({Kind.NEW: 2, Kind.ADDRESS: 1}, {Kind.NEW: 3}, {}):
        with ledger.transaction() as session:
            add(session, counts)
    with ledger.reading() as session:
        assert {kind: count for kind, count in totals(session).items() if count} == {
            Kind.NEW: 5,
            Kind.ADDRESS: 1,
        }


def test_every_kind_is_about_objects_or_connections() -> None:
    assert set(Kind) - set(OF_OBJECTS) == {
        Kind.ADDRESS, Kind.CALLED_TITLE, Kind.CALLING_TITLE, Kind.CROWDED, Kind.TLS, Kind.TOO_LONG, Kind.TOO_SLOW, Kind.MALFORMED,
    }  # fmt: skip
