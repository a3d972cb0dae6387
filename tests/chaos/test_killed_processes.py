"""Each process of a running Nightread is killed or suspended in turn, while files arrive."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import psutil
import pytest

from tests.chaos.sender import Sender, kill_process_with_lease, scoring_processes
from tests.conftest import Stack, stack_factory, wait_for
from worker.phantom import write_phantom
from worker.queue import bundled_broker

pytestmark = pytest.mark.stack

ROUNDS = [1, pytest.param(10, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Sender]:
    with stack_factory(tmp_path_factory.mktemp("sender")) as make:
        # All images are good, so none may be quarantined, however many attempts fail.
        stack = make(chunk_size=4, lease_s=6.0, max_attempts=100)
        stack.start()
        yield Sender(stack, phantoms[0])


def running(stack: Stack, command: str) -> list[psutil.Process]:
    """Return the processes of a command. Wait for one while the supervisor pauses before a restart."""
    wait_for(lambda: bool(stack.processes(command)), lambda: f"a running {command}:\n{stack.log_tail()}")
    return stack.processes(command)


def kill(stack: Stack, command: str) -> None:
    """Kill every process of a command, and wait until the supervisor started it again."""
    killed = running(stack, command)
    for process in killed:
        process.kill()
    killed_pids = {process.pid for process in killed}
    wait_for(
        lambda: bool({p.pid for p in stack.processes(command)} - killed_pids),
        lambda: f"{command} to be started again:\n{stack.log_tail()}",
    )


def kill_the_watcher_twice(stack: Stack) -> None:
    kill(stack, "watch")
    kill(stack, "watch")


def kill_the_worker(stack: Stack) -> None:
    """Kill the worker's main process and wait until its scoring processes have ended too."""
    wait_for(lambda: bool(scoring_processes(stack)), lambda: f"a scoring process:\n{stack.log_tail()}")
    children = scoring_processes(stack)
    for parent in {process.ppid() for process in children}:
        psutil.Process(parent).kill()
    wait_for(
        lambda: not any(process.is_running() for process in children),
        "the scoring processes of a killed worker to end",
    )


def kill_the_broker(stack: Stack) -> None:
    """Kill the broker, and wait until the next one has replaced the server that was left running."""
    (left,) = running(stack, "valkey-server")
    kill(stack, "broker")
    wait_for(
        lambda: left not in stack.processes("valkey-server") and bundled_broker.is_ready(stack.settings),
        stack.log_tail,
    )


def suspend_the_broker_for_ten_seconds(stack: Stack) -> None:
    (server,) = running(stack, "valkey-server")
    server.suspend()
    time.sleep(10)
    if server.is_running():
        server.resume()


def kill_the_supervisor_and_start_again(stack: Stack) -> None:
    stack.stop(signal.SIGKILL)
    stack.start()


FAULTS: list[Callable[[Stack], None]] = [
    kill_process_with_lease,
    kill_the_worker,
    kill_the_watcher_twice,
    lambda stack: kill(stack, "valkey-server"),
    kill_the_broker,
    suspend_the_broker_for_ten_seconds,
    kill_the_supervisor_and_start_again,
]
FAULT_NAMES = [
    "scoring process with a lease",
    "worker",
    "watcher, twice",
    "broker's server",
    "broker",
    "broker, suspended",
    "supervisor",
]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("cause_fault", FAULTS, ids=FAULT_NAMES)
def test_killed_process_loses_no_file(
    sender: Sender, cause_fault: Callable[[Stack], None], rounds: int
) -> None:
    for _ in range(rounds):
        sender.send(20)
        with sender.sending():
            cause_fault(sender.stack)
    sender.assert_no_file_is_lost()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_kills_in_a_row_lose_no_file(sender: Sender) -> None:
    with sender.sending():
        for number in range(50):
            FAULTS[number % len(FAULTS)](sender.stack)
    sender.assert_no_file_is_lost()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_kills_lose_none_of_a_hundred_thousand_files(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = make_stack(lease_s=20.0, max_attempts=100)
    sender = Sender(stack, write_phantom(tmp_path / "small.jpg", 1, width=256))
    sender.send(100_000)
    stack.start()

    def has_scored(count: int) -> bool:
        return stack.file_counts().scored >= count

    for cause_fault, count in zip(cycle(FAULTS), range(0, sender.count, 4_000), strict=False):
        wait_for(partial(has_scored, count), stack.log_tail, seconds=3600)
        cause_fault(stack)
    sender.assert_no_file_is_lost()
