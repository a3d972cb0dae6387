"""Scoring processes that are stopped, not dead: their worker still sends heartbeats and takes tasks."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.chaos.sender import Sender
from tests.conftest import Stack, wait_for
from tests.signing_in import bearer
from worker.errors import TransientFailure
from worker.ledger.roles import Scope

pytestmark = pytest.mark.stack


def troubles(stack: Stack) -> str:
    """Return the problems that /healthz tells, one a line."""
    headers = bearer(stack.ledger, {Scope.METRICS})
    request = urllib.request.Request(f"{stack.url}/healthz", headers=headers)  # noqa: S310 - http
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return "\n".join(json.loads(answer.read())["troubles"])


def scoring_processes(stack: Stack) -> list[psutil.Process]:
    """Return the children of the worker; none while the worker starts again."""
    workers = [process for process in stack.processes("worker") if process.parent() == up(stack)]
    return [child for worker in workers for child in worker.children()]


def up(stack: Stack) -> psutil.Process:
    assert stack.process is not None
    return psutil.Process(stack.process.pid)


def stop_between_transactions(stack: Stack, processes: list[psutil.Process]) -> None:
    """Stop the processes at a moment when none of them holds SQLite's lock, which would stop every process."""

    def are_stopped() -> bool:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            with stack.ledger.transaction():
                return True
        except TransientFailure:
            for process in processes:
                process.send_signal(signal.SIGCONT)
            return False

    wait_for(are_stopped, "the processes to be stopped while no transaction is open")


def test_stopped_scoring_processes_are_named_while_an_image_waits(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    # The lease does not end meanwhile, and no time limit kills the processes.
    stack = make_stack(heartbeat_s=0.5, lease_s=600.0)
    stack.start()
    sender = Sender(stack, phantoms[0])
    sender.send(2)
    stack.wait_until_done(2)
    stopped = scoring_processes(stack)
    assert len(stopped) == 2
    wait_for(lambda: not troubles(stack), stack.log_tail)
    stop_between_transactions(stack, stopped)
    try:
        sender.send(1)
        wait_for(lambda: "The oldest image has waited for " in troubles(stack), lambda: troubles(stack))
        wait_for(
            lambda: all(
                f"scoring process {number} (process id {process.pid}) has made no progress" in troubles(stack)
                for number, process in enumerate(sorted(stopped, key=lambda process: process.pid), 1)
            ),
            lambda: troubles(stack),
        )
        status = json.loads(stack.run("status", "--json").stdout)
        (worker,) = [process for process in status["processes"] if process["name"] == "worker"]
        assert (worker["ok"], worker["silent"]) == (False, False)
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
    stack.wait_until_done(3)
    wait_for(lambda: not troubles(stack), lambda: troubles(stack))


def test_killed_scoring_process_leaves_no_trouble(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(heartbeat_s=0.5)
    stack.start()
    killed = scoring_processes(stack)[0]
    killed.kill()
    wait_for(lambda: len(scoring_processes(stack)) == 2 and killed not in scoring_processes(stack))
    Sender(stack, phantoms[0]).send(1)
    stack.wait_until_done(1)
    wait_for(lambda: not troubles(stack), lambda: troubles(stack))
