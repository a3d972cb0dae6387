"""The sweeper counts and compares days; what it finds stands in troubles, status, report and metrics."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tests.conftest import make_settings
from tests.filling import fill, known_model, known_reader, score
from tests.ledgers import current_ledger
from tests.monitored import everything, keep_days, some, yesterday
from webui.metrics import exposition
from worker.ledger import heartbeats, monitoring, review
from worker.ledger.findings import Finding, Statement
from worker.ledger.monitor_counts import Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.status import status_document
from worker.monitoring import Monitoring, compare
from worker.queue.dispatch import Dispatcher
from worker.queue.sweeper import Sweeper
from worker.report.content import read_report
from worker.store import open_store

DAYS, JUMP = 120, 20


def live(ledger: Ledger, *, jumps: bool) -> int:
    """Keep days of 200 images of which 20 are flagged, and 60 in the last `JUMP` days if it jumps. Return the model."""
    model_id = known_model(ledger).model_id
    last = yesterday(ledger)
    machine = Group(Dimension.MACHINE, "Agfa CR", model_id)
    days = {}
    for number in range(DAYS):
        flagged = 60 if jumps and number < JUMP else 20
        counts = some(200, flagged)
        days[last - timedelta(days=number)] = {everything(model_id): counts, machine: counts}
    keep_days(ledger, days)
    return model_id


def status(ledger: Ledger) -> dict[str, object]:
    with ledger.reading() as session:
        return status_document(session, ledger_time(session))


def found(ledger: Ledger) -> monitoring.Found | None:
    with ledger.reading() as session:
        return monitoring.found(session)


def test_quiet_days_raise_nothing(ledger: Ledger) -> None:
    live(ledger, jumps=False)
    compare(ledger)
    kept = found(ledger)
    assert kept is not None
    assert (kept.day, list(kept.alerts)) == (yesterday(ledger), [])
    assert status(ledger)["monitor"] == []


def test_change_stands_in_troubles_status_report_and_metrics(ledger: Ledger) -> None:
    live(ledger, jumps=True)
    compare(ledger)
    kept = found(ledger)
    assert kept is not None
    flagged = next(alert for alert in kept.alerts if alert["figure"] == "flagged")
    assert flagged["attention"]
    assert flagged["since"] == (yesterday(ledger) - timedelta(days=JUMP - 1)).isoformat()
    document = status(ledger)
    sentence = f"Monitor: {flagged['sentence']}"
    assert sentence in document["troubles"]  # type: ignore[operator]
    changes: list[dict[str, object]] = document["monitor"]  # type: ignore[assignment]
    assert flagged["sentence"] in [change["sentence"] for change in changes]
    metrics = exposition(document, 0).decode()
    assert 'nightread_monitor_alerts{figure="flagged"} 1.0' in metrics
    assert 'nightread_monitor_alerts{figure="rejected"} 0.0' in metrics
    score(ledger, fill(ledger, 1))
    with ledger.transaction() as session:
        heartbeats.record_heartbeat(session, "watch", period_s=5, at=ledger_time(session))
    with ledger.reading() as session:
        assert sentence in read_report(session, None).look_at


def test_old_change_needs_no_attention(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    last = yesterday(ledger)
    keep_days(
        ledger,
        {
            last - timedelta(days=number): {everything(model_id): some(200, 60 if number < 80 else 20)}
            for number in range(160)
        },
    )
    compare(ledger)
    kept = found(ledger)
    assert kept is not None
    assert [alert["attention"] for alert in kept.alerts if alert["figure"] == "flagged"] == [False]
    assert status(ledger)["monitor"] == []


def test_change_of_another_model_is_no_change(ledger: Ledger) -> None:
    """Scores of two models mean different things: only the days of the model that scores now are compared."""
    live(ledger, jumps=True)
    known_model(ledger, "n" * 64)
    compare(ledger)
    kept = found(ledger)
    assert kept is None or not kept.alerts


def test_same_days_are_compared_once(ledger: Ledger) -> None:
    live(ledger, jumps=True)
    first = compare(ledger)
    assert first is not None
    kept = found(ledger)
    assert compare(ledger, first) is first
    assert found(ledger) == kept


def test_sweeper_counts_and_compares_in_its_rounds(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    score(ledger, fill(ledger, 1, 2))
    rounds = Monitoring(ledger)
    rounds.run_some()
    kept = found(ledger)
    assert kept is not None
    with ledger.reading() as session:
        (row,) = monitoring.counts(session, Dimension.ALL, *_extent(session))
    assert row.counts.images == 2
    reader_id = known_reader(ledger)
    with ledger.transaction() as session:
        at = ledger_time(session)
        review.decide(session, 1, reader_id=reader_id, statement=Statement(Finding.SIGNS), at=at)
    rounds.run_some()
    assert _readings(ledger) == 0, "it rests between two rounds"
    monkeypatch.setattr(rounds, "_next", 0.0)
    rounds.run_some()
    assert _readings(ledger) == 1


def _extent(session: Session) -> tuple[date, date]:
    extent = monitoring.extent(session)
    assert extent is not None
    return extent


def _readings(ledger: Ledger) -> int:
    with ledger.reading() as session:
        (row,) = monitoring.counts(session, Dimension.ALL, *_extent(session))
    return row.counts.flagged_read.read


def test_cleaning_of_the_sweeper_counts(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    ledger, store = current_ledger(settings.database), open_store(settings)
    store.make()
    score(ledger, fill(ledger, 1))
    Sweeper(settings, ledger, store, Dispatcher(settings, ledger)).clean()
    assert found(ledger) is not None
    ledger.close()
