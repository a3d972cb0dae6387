"""Several hosts on one machine, made of network namespaces (ip-netns(8)).

Each host has its own address, its own name and one cable, which a test can disconnect. The hosts share files and
processes. Real hosts would share only a network folder.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.conftest import HANG_S

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can create networks and mount disks")

# Addresses for documentation, which no host uses (RFC 5737).
_NETWORK = "192.0.2"


@dataclass(frozen=True)
class Host:
    """A host with its name and address. `prefix` is the command that runs another command on it."""

    name: str
    namespace: str
    address: str

    @property
    def prefix(self) -> list[str]:
        with_own_name = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return ["ip", "netns", "exec", self.namespace, *with_own_name]


class Network:
    """A switch on the first host, and a cable from the switch to every other host."""

    def __init__(self, *names: str) -> None:
        pid = os.getpid()
        self.hosts = [
            Host(name, f"nightread-{pid}-{name}", f"{_NETWORK}.{number}")
            for number, name in enumerate(names, 1)
        ]

    def create(self) -> None:
        for host in self.hosts:
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "dev", "lo", "up")
        switch, *others = self.hosts
        _ip("-n", switch.namespace, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch.namespace, "addr", "add", f"{switch.address}/24", "dev", "switch")
        _ip("-n", switch.namespace, "link", "set", "dev", "switch", "up")
        for host in others:
            peer = ["peer", "name", host.name, "netns", switch.namespace]
            _ip("-n", host.namespace, "link", "add", "cable", "type", "veth", *peer)
            _ip("-n", switch.namespace, "link", "set", "dev", host.name, "master", "switch", "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "cable")
            _ip("-n", host.namespace, "link", "set", "dev", "cable", "up")

    def disconnect(self, host: Host) -> None:
        """Disconnect a host's cable: packets are lost, and neither side gets an error."""
        _ip("-n", self.hosts[0].namespace, "link", "set", "dev", host.name, "down")

    def reconnect(self, host: Host) -> None:
        """Connect a host's cable again."""
        _ip("-n", self.hosts[0].namespace, "link", "set", "dev", host.name, "up")

    def remove(self) -> None:
        for host in self.hosts:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host.namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=HANG_S)


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """Create hosts with these names, the switch on the first one. Remove them after the block."""
    created = Network(*names)
    try:
        created.create()
        yield created
    finally:
        created.remove()
