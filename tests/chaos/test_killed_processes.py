"""One running Nightread, and everything in it killed or stopped in turn, while files arrive."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from tests.chaos.storm import Storm, kill_in_the_middle, scorers
from tests.conftest import Stack, stacks_in, wait_for
from worker.phantom import write_phantom

pytestmark = pytest.mark.stack

ROUNDS = [1, pytest.param(10, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Storm]:
    with stacks_in(tmp_path_factory.mktemp("storm")) as make:
        # Here nothing is wrong with any image, so that none may end in quarantine.
        stack = make(chunk_size=4, lease_s=6.0, max_attempts=100)
        stack.start()
        yield Storm(stack, phantoms[0])


def kill(stack: Stack, command: str) -> None:
    """Kill every process of a command, and wait until it was started again."""
    killed = stack.processes(command)
    assert killed, f"no {command} is running"
    for process in killed:
        process.kill()
    gone = {process.pid for process in killed}
    wait_for(lambda: bool({p.pid for p in stack.processes(command)} - gone), 60, stack.tail)


def kill_the_watcher_twice(stack: Stack) -> None:
    kill(stack, "watch")
    kill(stack, "watch")


def kill_the_worker(stack: Stack) -> None:
    orphans = scorers(stack)
    (parent,) = (p for p in stack.processes("worker") if p not in orphans)
    parent.kill()
    wait_for(lambda: not any(p.is_running() for p in orphans), 60, "the children of a killed worker")


def stop_the_broker_for_ten_seconds(stack: Stack) -> None:
    (server,) = stack.processes("valkey-server")
    server.suspend()
    time.sleep(10)
    if server.is_running():
        server.resume()


def kill_the_supervisor_and_start_again(stack: Stack) -> None:
    stack.stop(signal.SIGKILL)
    stack.start()


HARMS: list[Callable[[Stack], None]] = [
    kill_in_the_middle,
    kill_the_worker,
    kill_the_watcher_twice,
    lambda stack: kill(stack, "valkey-server"),
    lambda stack: kill(stack, "broker"),
    stop_the_broker_for_ten_seconds,
    kill_the_supervisor_and_start_again,
]
NAMES = [
    "a scoring process in the middle of a chunk",
    "the worker",
    "the watcher",
    "the broker's server",
    "the broker",
    "the broker, which only hangs",
    "the supervisor",
]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("harm", HARMS, ids=NAMES)
def test_nothing_is_lost_when_it_is_killed(storm: Storm, harm: Callable[[Stack], None], rounds: int) -> None:
    for _ in range(rounds):
        storm.drop(20)
        with storm.arriving():
            harm(storm.stack)
    storm.assert_nothing_is_lost()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_all_of_it_is_killed_again_and_again(storm: Storm) -> None:
    with storm.arriving():
        for number in range(50):
            HARMS[number % len(HARMS)](storm.stack)
    storm.assert_nothing_is_lost()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_files_at_once_are_accounted_for_whatever_is_killed_meanwhile(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = make_stack(lease_s=20.0, max_attempts=100)
    storm = Storm(stack, write_phantom(tmp_path / "small.jpg", 1, width=256))
    storm.drop(100_000)
    stack.start()

    def have_scored(count: int) -> bool:
        return stack.file_counts().scored >= count

    for harm, count in zip(cycle(HARMS), range(0, storm.count, 4_000), strict=False):
        wait_for(partial(have_scored, count), 600, stack.tail)
        harm(stack)
    storm.assert_nothing_is_lost()
