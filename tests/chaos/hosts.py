"""Several hosts on one machine: network namespaces on one cable each, which can be pulled (ip-netns(8)).

Each has its own address and its own name; processes and files they share, as hosts share a network folder.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.conftest import HANG_S

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root makes networks and mounts disks")

# Addresses for documentation (RFC 5737): nobody's.
_NETWORK = "192.0.2"


@dataclass(frozen=True)
class Host:
    """A host: `prefix` goes before a command that is to run on it."""

    name: str
    namespace: str
    address: str

    @property
    def prefix(self) -> list[str]:
        renamed = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return ["ip", "netns", "exec", self.namespace, *renamed]


class Network:
    """A switch on the first of the hosts, and a cable from it to each of the others."""

    def __init__(self, *names: str) -> None:
        mark = os.getpid()
        self.hosts = [
            Host(name, f"nightread-{mark}-{name}", f"{_NETWORK}.{number}")
            for number, name in enumerate(names, 1)
        ]

    def make(self) -> None:
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
        """Pull a host's cable: what is sent gets lost, and nobody is told."""
        _ip("-n", self.hosts[0].namespace, "link", "set", "dev", host.name, "down")

    def reconnect(self, host: Host) -> None:
        """Plug it in again."""
        _ip("-n", self.hosts[0].namespace, "link", "set", "dev", host.name, "up")

    def remove(self) -> None:
        for host in self.hosts:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host.namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=HANG_S)


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """Hosts of these names, the first one at the switch; gone in the end."""
    made = Network(*names)
    try:
        made.make()
        yield made
    finally:
        made.remove()
