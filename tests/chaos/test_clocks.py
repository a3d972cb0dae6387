"""Processes whose clocks are an hour off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from tests.chaos.sender import Sender, suspend_process_with_lease
from tests.conftest import HANG_S, Stack, wait_for
from worker.ledger.tables import Image
from worker.queue import bundled_broker

pytestmark = pytest.mark.stack

# Runs a real command with a clock that is off by the given seconds.
WITH_WRONG_CLOCK = """
import sys
from datetime import timedelta
from worker.ledger import session
now, offset = session.utc_now, timedelta(seconds=float(sys.argv.pop(1)))
session.utc_now = lambda: now() + offset
from worker.cli import main
main()
"""


def launch_broker_and_watcher(stack: Stack) -> None:
    stack.launch("broker")
    wait_for(lambda: bundled_broker.is_ready(stack.settings), stack.log_tail)
    stack.launch("watch")


def test_lease_expires_after_the_clock_is_set_back_an_hour(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, lease_s=10.0)
    launch_broker_and_watcher(stack)
    worker_with_old_clock = stack.launch("-c", WITH_WRONG_CLOCK, "3600", "worker")
    sender = Sender(stack, phantoms[0])
    with sender.sending():
        scoring_process = suspend_process_with_lease(
            stack, psutil.Process(worker_with_old_clock.pid).children
        )
    worker_with_old_clock.kill()
    scoring_process.kill()
    worker_with_old_clock.wait(HANG_S)
    stack.launch("worker")
    sender.assert_no_file_is_lost()


@pytest.mark.postgres
def test_workers_with_clocks_two_hours_apart_share_a_ledger(
    postgres_url: str, make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=2, lease_s=10.0, workers=1, database_url=postgres_url)
    launch_broker_and_watcher(stack)
    for offset_s in ("3600", "-3600"):
        stack.launch("-c", WITH_WRONG_CLOCK, offset_s, "worker")
    sender = Sender(stack, phantoms[0])
    sender.send(30)
    sender.assert_no_file_is_lost()
    with stack.ledger.reading() as session:
        assert set(session.scalars(select(Image.attempts))) == {1}, "a lease expired"
