from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from tests.filling import AT, assert_consistent
from worker.ledger.runs import night_of, run_named
from worker.ledger.session import Ledger


@pytest.mark.parametrize(
    ("local", "night"),
    [
        (datetime(2026, 3, 1, 12, 0), "night-2026-03-01"),  # noqa: DTZ001 - the wall's clock
        (datetime(2026, 3, 1, 23, 59), "night-2026-03-01"),  # noqa: DTZ001
        (datetime(2026, 3, 2, 7, 30), "night-2026-03-01"),  # noqa: DTZ001
        (datetime(2026, 3, 2, 11, 59), "night-2026-03-01"),  # noqa: DTZ001
        (datetime(2026, 3, 2, 12, 0), "night-2026-03-02"),  # noqa: DTZ001
        (datetime(2026, 1, 1, 3, 0), "night-2025-12-31"),  # noqa: DTZ001
    ],
)
def test_night_lasts_from_noon_to_noon(local: datetime, night: str) -> None:
    assert night_of(local) == night


def test_night_follows_local_time() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert night_of(datetime(2026, 3, 2, 1, 0, tzinfo=tokyo)) == "night-2026-03-01"


def test_run_is_created_once(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        first = run_named(session, "survey", AT).id
    with ledger.transaction() as session:
        assert run_named(session, "survey", AT).id == first
    assert_consistent(ledger)
