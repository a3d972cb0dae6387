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
from worker.queue import embedded

pytestmark = pytest.mark.stack

# The real program, but for its clock.
OFF_BY = """
import sys
from datetime import timedelta
from worker.ledger import session
now, off_by = session.utc_now, timedelta(seconds=float(sys.argv.pop(1)))
session.utc_now = lambda: now() + off_by
from worker.cli import main
main()
"""


def begin(stack: Stack) -> None:
    stack.launch("broker")
    wait_for(lambda: embedded.is_ready(stack.settings), stack.log_tail)
    stack.launch("watch")


def test_lease_expires_after_the_clock_is_set_back_an_hour(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, lease_s=4.0)
    begin(stack)
    before = stack.launch("-c", OFF_BY, "3600", "worker")
    sender = Sender(stack, phantoms[0])
    with sender.sending():
        caught = suspend_process_with_lease(stack, psutil.Process(before.pid).children)
    before.kill()
    caught.kill()
    before.wait(HANG_S)
    stack.launch("worker")
    sender.assert_no_file_is_lost()


@pytest.mark.postgres
def test_workers_with_clocks_two_hours_apart_share_a_ledger(
    postgres_url: str, make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=2, lease_s=10.0, workers=1, database_url=postgres_url)
    begin(stack)
    for off_by in ("3600", "-3600"):
        stack.launch("-c", OFF_BY, off_by, "worker")
    sender = Sender(stack, phantoms[0])
    sender.send(30)
    sender.assert_no_file_is_lost()
    with stack.ledger.reading() as session:
        assert set(session.scalars(select(Image.attempts))) == {1}, "no lease ran out"
