"""Processes whose clocks are an hour off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from tests.chaos.storm import Storm, stop_in_the_middle
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
    wait_for(lambda: embedded.is_ready(stack.settings), stack.tail)
    stack.launch("watch")


def test_a_lease_from_before_the_clock_was_set_back_an_hour_runs_out_in_time(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, lease_s=4.0)
    begin(stack)
    before = stack.launch("-c", OFF_BY, "3600", "worker")
    storm = Storm(stack, phantoms[0])
    with storm.arriving():
        caught = stop_in_the_middle(stack, psutil.Process(before.pid).children)
    before.kill()
    caught.kill()
    before.wait(HANG_S)
    stack.launch("worker")
    storm.assert_nothing_is_lost()


@pytest.mark.postgres
def test_workers_whose_clocks_are_an_hour_apart_work_on_one_ledger(
    postgres_url: str, make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=2, lease_s=10.0, workers=1, database_url=postgres_url)
    begin(stack)
    for off_by in ("3600", "-3600"):
        stack.launch("-c", OFF_BY, off_by, "worker")
    storm = Storm(stack, phantoms[0])
    storm.drop(30)
    storm.assert_nothing_is_lost()
    with stack.ledger.reading() as session:
        assert set(session.scalars(select(Image.attempts))) == {1}, "no lease ran out"
