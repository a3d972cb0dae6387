"""The measurement of re-triages, in small: it runs on both databases, and the audit trail proves what it did."""

from __future__ import annotations

from bench.retriage import POINTS, measure
from worker.ledger.session import Ledger


def test_measurement_of_retriages_is_proven_by_the_trail(ledger: Ledger) -> None:
    document = measure(ledger, 3_000, verify=True)
    assert document["mismatches"] == 0
    *general, of_group = document["retriages"]
    measured = {row["point"]: row for row in general}
    assert len(general) == len(POINTS)
    assert measured["all-clear"]["changed"] == measured["all-clear"]["unread"] > 500
    assert measured["all-clear"]["drawn"] > 0
    assert (of_group["group"], of_group["point"]) == ("source=folder", "all-flagged")
    assert of_group["changed"] > 0
