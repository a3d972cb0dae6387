from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select, update

from tests.filling import AT, later
from worker.ledger.heartbeats import ProcessStatus, deregister, process_statuses, record_heartbeat
from worker.ledger.session import Ledger
from worker.ledger.tables import Process


def seen(ledger: Ledger, seconds: float = 0) -> list[ProcessStatus]:
    with ledger.reading() as session:
        return list(process_statuses(session, later(seconds)))


def send_heartbeat(ledger: Ledger, name: str, seconds: float = 0) -> None:
    with ledger.transaction() as session:
        record_heartbeat(session, name, period_s=5, at=later(seconds))


def test_process_is_silent_after_three_missed_heartbeats(ledger: Ledger) -> None:
    send_heartbeat(ledger, "watch", 0)
    send_heartbeat(ledger, "watch", 5)
    assert [(b.name, b.heartbeat_age_s, b.ok) for b in seen(ledger, 20)] == [("watch", 15, True)]
    assert [(b.heartbeat_age_s, b.ok) for b in seen(ledger, 21)] == [(16, False)]
    assert seen(ledger, 4)[0].heartbeat_age_s == 0, "the clock of another machine may be ahead"


def test_heartbeat_from_the_future_is_silent(ledger: Ledger) -> None:
    send_heartbeat(ledger, "watch", 3600)
    assert [(b.heartbeat_age_s, b.silent, b.ok) for b in seen(ledger)] == [(0, True, False)]
    send_heartbeat(ledger, "watch", 0)
    assert [(b.silent, b.ok) for b in seen(ledger, 1)] == [(False, True)]


def test_host_that_was_replaced_is_missed_for_a_week(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    day = 86_400.0
    for host, name, at in (("old", "watch", 0), ("old", "web", 0), ("new", "watch", 8 * day)):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        send_heartbeat(ledger, name, at)
    # Nothing else is a web process, so this one is still missed.
    assert [(b.name, b.host, b.silent) for b in seen(ledger, 8 * day)] == [
        ("watch", "new", False),
        ("web", "old", True),
    ]
    monkeypatch.setattr("socket.gethostname", lambda: "new")
    send_heartbeat(ledger, "watch", 6 * day)
    assert [(b.name, b.host) for b in seen(ledger, 6 * day)][:2] == [("watch", "new"), ("watch", "old")]


def test_heartbeat_records_what_the_process_waits_for(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        record_heartbeat(session, "watch", period_s=5, trouble="no room", at=AT)
    (waits,) = seen(ledger, 1)
    assert (waits.trouble, waits.silent, waits.ok) == ("no room", False, False)
    (silent,) = seen(ledger, 16)
    assert (silent.silent, silent.ok) == (True, False)
    send_heartbeat(ledger, "watch", 17)
    (well,) = seen(ledger, 18)
    assert (well.trouble, well.silent, well.ok) == (None, False, True)


def test_processes_of_one_name_can_start_at_once(ledger: Ledger) -> None:
    start = Barrier(6)

    def begin(_: int) -> None:
        start.wait(10)
        send_heartbeat(ledger, "worker")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(begin, range(6)))
    assert [b.name for b in seen(ledger)] == ["worker"]


def test_deregister_keeps_the_row_of_a_successor(ledger: Ledger) -> None:
    send_heartbeat(ledger, "watch")
    with ledger.transaction() as session:
        session.execute(update(Process).values(pid=os.getpid() + 1))
    with ledger.transaction() as session:
        deregister(session, "watch")
    assert len(seen(ledger)) == 1
    send_heartbeat(ledger, "watch")
    with ledger.transaction() as session:
        deregister(session, "watch")
        deregister(session, "never was")
    assert seen(ledger) == []


@pytest.mark.parametrize(("successor", "started"), [(False, AT), (True, later(9))])
def test_start_time_is_that_of_the_present_process(ledger: Ledger, successor: bool, started: object) -> None:
    send_heartbeat(ledger, "watch", 0)
    if successor:
        with ledger.transaction() as session:
            session.execute(update(Process).values(pid=os.getpid() + 1))
    send_heartbeat(ledger, "watch", 9)
    with ledger.reading() as session:
        row = session.scalars(select(Process)).one()
    assert (row.started_at, row.beat_at, row.pid) == (started, later(9), os.getpid())
