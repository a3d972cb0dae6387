"""`nightread monitor`: the figures as text and JSON, and counting anew."""

from __future__ import annotations

import pytest

from tests.filling import fill, known_model, score
from tests.monitored import everything, keep_days, some, yesterday
from worker.commands import monitor
from worker.ledger import monitoring
from worker.ledger.monitored_groups import Dimension
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import MonitorDay


def shown(ledger: Ledger, by: str = "all", group: str = "all") -> str:
    return monitor.as_text(monitor.read(ledger, period="day", by=by, group=group, until=None))


def test_empty_ledger_says_that_nothing_was_compared(ledger: Ledger) -> None:
    assert shown(ledger).splitlines() == ["No days were compared yet.", "No image was scored yet."]


def test_figures_stand_in_lines(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    with ledger.transaction() as session:
        alert = {"attention": True, "sentence": "Something rose.", "sure": "Surely."}
        monitoring.keep_found(session, yesterday(ledger), [alert], ledger_time(session))
    lines = shown(ledger).splitlines()
    assert lines[0] == "CHANGED  Something rose. Surely."
    (row,) = [line for line in lines if line.startswith(yesterday(ledger).isoformat())]
    assert row.split()[1:3] == ["100", "20.0%"]


def test_group_needs_a_dimension(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="--group needs --by"):
        shown(ledger, group="F")


def test_rebuild_counts_what_is_there(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1, 2))
    assert monitor.rebuild(ledger) == 1
    with ledger.transaction() as session:
        session.query(MonitorDay).update({"counts": {}})
    assert monitor.rebuild(ledger) == 1
    with ledger.reading() as session:
        extent = monitoring.extent(session)
        assert extent is not None
        (row,) = monitoring.counts(session, Dimension.ALL, *extent)
    assert row.counts.images == 2
