"""The bundled broker is killed, and its server stays."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from tests.conftest import Stack, wait_for
from worker.queue import bundled_broker

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("suspended", [False, True], ids=["running", "suspended"])
def test_server_left_by_a_killed_broker_ends_before_the_next_one(
    make_stack: Callable[..., Stack], *, suspended: bool
) -> None:
    stack = make_stack()
    first = stack.launch("broker")
    wait_for(lambda: bundled_broker.is_ready(stack.settings), stack.log_tail)
    first.kill()
    first.wait()
    (left,) = stack.processes("valkey-server")
    if suspended:
        left.suspend()
    stack.launch("broker")

    def only_the_next_server_runs() -> bool:
        running: list[psutil.Process] = stack.processes("valkey-server")
        return len(running) == 1 and left not in running and bundled_broker.is_ready(stack.settings)

    wait_for(only_the_next_server_runs, stack.log_tail)
