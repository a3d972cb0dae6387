"""worker.outages: an outage of hours is a few lines in the log, and its end is one."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from worker.outages import BROKER, DATABASE, Outages


class Clock:
    """The time of a test, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_an_outage_is_one_warning_a_minute_and_one_line_at_its_end(clock: Clock) -> None:
    state = Outages()
    with capture_logs() as lines:
        for _ in range(150):
            state.failed(DATABASE, OSError("gone"))
            clock.now += 1
    assert [line["log_level"] for line in lines] == ["warning"] * 3
    assert (lines[0]["what"], lines[0]["error"]) == (DATABASE, "gone")
    clock.now += 10
    with capture_logs() as lines:
        for _ in range(3):
            state.worked(DATABASE)
    assert [(line["log_level"], line["event"]) for line in lines] == [("info", "within reach again")]


def test_work_that_sometimes_fails_is_one_outage(clock: Clock) -> None:
    state = Outages()
    with capture_logs() as lines:
        for _ in range(30):
            state.failed(DATABASE, OSError("full"))
            clock.now += 1
            state.worked(DATABASE)
    assert len(lines) == 1


def test_database_and_broker_are_told_apart(clock: Clock) -> None:
    state = Outages()
    with capture_logs() as lines:
        state.failed(DATABASE, OSError("gone"))
        state.failed(BROKER, OSError("gone"))
        clock.now += 20
        state.worked(BROKER)
        state.worked(BROKER)
    assert [line["what"] for line in lines] == [DATABASE, BROKER, BROKER]
