from __future__ import annotations

import os

import pytest
from sqlalchemy import update

from tests.filling import fill, later, lease_images, score
from worker.commands.status import as_text, document
from worker.durations import duration
from worker.ledger import heartbeats
from worker.ledger.heartbeats import ProcessStatus
from worker.ledger.process_health import STALLED_S, is_stalled, troubles
from worker.ledger.session import Ledger
from worker.ledger.states import Lane
from worker.ledger.status import status_document
from worker.ledger.tables import Process

LATE = STALLED_S + 1


def stalled(ledger: Ledger, seconds: float) -> bool:
    with ledger.reading() as session:
        return is_stalled(session, later(seconds))


def beat(ledger: Ledger, seconds: float, *names: str) -> None:
    with ledger.transaction() as session:
        for name in names:
            heartbeats.record_heartbeat(session, name, period_s=5, at=later(seconds))


def said(ledger: Ledger, seconds: float) -> list[str]:
    with ledger.reading() as session:
        found: list[str] = status_document(session, later(seconds))["troubles"]
    host = os.uname().nodename
    return [sentence.replace(f" on {host}", "") for sentence in found]


def shown_at(ledger: Ledger, seconds: float) -> list[str]:
    with ledger.reading() as session:
        return as_text(status_document(session, later(seconds)) | {"model": None}).splitlines()


def shown(ledger: Ledger) -> list[str]:
    return as_text(document(ledger)).splitlines()


@pytest.mark.parametrize("lane", Lane)
def test_pending_images_without_activity_are_stalled(ledger: Ledger, lane: Lane) -> None:
    assert not stalled(ledger, LATE)
    fill(ledger, 1, lane=lane)
    assert not stalled(ledger, STALLED_S - 1)
    assert stalled(ledger, LATE)


def test_long_queue_that_moves_is_not_stalled(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3)
    score(ledger, ids[:1])
    assert not stalled(ledger, STALLED_S), "the last score was one second after the start"
    assert stalled(ledger, LATE + 1)
    lease_images(ledger, ids[1:2], at=later(LATE))
    assert not stalled(ledger, LATE + 1), "an image is being scored"
    assert stalled(ledger, LATE + 61), "the lease has expired"


def test_ledger_without_pending_images_is_not_stalled(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1))
    assert not stalled(ledger, 10 * LATE)


def test_worker_that_just_started_is_not_stalled(ledger: Ledger) -> None:
    fill(ledger, 1)
    beat(ledger, 5 * LATE, "worker")
    assert not stalled(ledger, 5 * LATE + 10)
    beat(ledger, 6 * LATE, "worker")
    assert stalled(ledger, 6 * LATE)


def test_worker_that_leases_no_pending_image_is_a_problem(ledger: Ledger) -> None:
    fill(ledger, 1)
    beat(ledger, 0, "worker", "watch", "sweeper")
    beat(ledger, LATE, "worker", "watch", "sweeper")
    assert said(ledger, LATE) == [
        "worker is waiting: images are pending, but this worker leases none of them.",
        f"The oldest image has waited for {duration(LATE)}.",
    ]
    with ledger.reading() as session:
        signs = {sign["name"]: sign for sign in status_document(session, later(LATE))["processes"]}
    assert [signs[name]["ok"] for name in ("watch", "worker")] == [True, False]


def test_silent_and_missing_processes_are_named(ledger: Ledger) -> None:
    assert said(ledger, 0) == [
        "No watch process is running.",
        "No sweeper process is running.",
        "No worker process is running.",
    ]
    assert shown(ledger)[-3:] == ["  MISSING  watch", "  MISSING  sweeper", "  MISSING  worker"]
    beat(ledger, 0, "watch", "sweeper")
    beat(ledger, 0, "worker")
    assert said(ledger, 1) == []
    assert not [line for line in shown(ledger) if "MISSING" in line]
    beat(ledger, 100, "worker")
    assert said(ledger, 100) == [
        "sweeper has sent no heartbeat for 1 min 40 s.",
        "watch has sent no heartbeat for 1 min 40 s.",
    ]


def test_long_waits_are_told_in_minutes_and_hours(ledger: Ledger) -> None:
    beat(ledger, 0, "watch", "sweeper", "worker")
    beat(ledger, 794, "watch", "sweeper")
    assert said(ledger, 794) == ["worker has sent no heartbeat for 13 min."]
    with ledger.reading() as session:
        status = status_document(session, later(7_500))
    lines = as_text(status | {"model": None, "pending": 9_000, "eta_s": 7_500.0, "images_per_s": 1.2})
    assert "heartbeat 2 h 5 min ago" in lines
    assert "1.2 images a second, about 2 h 5 min left" in lines


def test_unaccounted_files_are_the_first_problem() -> None:
    well = [
        ProcessStatus(name, "here", 1, silent=False, trouble=None, ok=True) for name in ("watch", "sweeper")
    ]
    assert troubles(well, balanced=False) == [
        "Files are unaccounted for: run `nightread db check`.",
        "No worker process is running.",
    ]


def test_silent_worker_is_reported_as_silent_when_stalled(ledger: Ledger) -> None:
    fill(ledger, 1)
    beat(ledger, 0, "worker", "watch", "sweeper")
    with ledger.transaction() as session:
        session.execute(update(Process).where(Process.name != "worker").values(beat_at=later(LATE)))
    assert said(ledger, LATE) == [
        f"worker has sent no heartbeat for {duration(LATE)}.",
        f"The oldest image has waited for {duration(LATE)}.",
    ]


def test_scoring_process_without_progress_is_named(ledger: Ledger) -> None:
    """Its own heartbeats count: those of the worker come from another process."""
    (image,) = fill(ledger, 1)
    beat(ledger, 0, "worker", "watch", "sweeper", "scoring-1", "scoring-2")
    assert said(ledger, 1) == []
    beat(ledger, 20, "worker", "watch", "sweeper", "scoring-2")
    lease_images(ledger, [image], at=later(19))
    assert said(ledger, 20) == [
        f"worker is waiting: scoring process 1 (process id {os.getpid()}) has made no progress for 20 s.",
        "The oldest image has waited for 20 s.",
    ]
    with ledger.reading() as session:
        processes = status_document(session, later(20))["processes"]
    assert [process["name"] for process in processes] == ["sweeper", "watch", "worker"]
    worker = processes[-1]
    assert (worker["ok"], worker["silent"]) == (False, False)
    assert [(part["number"], part["silent"]) for part in worker["scoring"]] == [(1, True), (2, False)]
    assert "scoring process 1 (process id" in "\n".join(shown_at(ledger, 20))
    with ledger.transaction() as session:
        heartbeats.deregister_scoring(session)
    assert said(ledger, 21) == []
