"""Limits of a PDU: its length before its body is read, and the time in which all of it must arrive.

As shipped, pynetdicom reads as many bytes as a header announces, up to 4 GiB, and waits for them for ever.
`tests/integration/receiving/test_hostile_peers.py` fails when pynetdicom reads PDUs in another way.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pynetdicom.transport import AssociationSocket

from worker.ledger.receiver_tallies import Kind

if TYPE_CHECKING:
    from pynetdicom.association import Association

# An A-ASSOCIATE-RQ of 128 presentation contexts with 20 transfer syntaxes each is shorter. It comes before any
# length is agreed.
LONGEST_REQUEST = 128 * 1024
# Type, a reserved byte, and the length of the rest (PS3.8, 9.3.1).
_HEADER = 6
_BLOCK = 64 * 1024


class BoundedSocket(AssociationSocket):
    """The socket of one association. `recv` raises OSError at a limit, which ends the association."""

    def __init__(
        self,
        association: Association,
        client: socket.socket,
        *,
        longest: int,
        within_s: float,
        count: Callable[[Kind], None],
    ) -> None:
        """Read PDUs of at most `longest` bytes after the header; each must arrive within `within_s` seconds."""
        super().__init__(association, client_socket=client)
        self._longest = max(longest, LONGEST_REQUEST)
        self._within_s = within_s
        self._until = 0.0
        self._count = count

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes; fewer if the peer has closed the connection.

        pynetdicom asks for the header as soon as its first byte is there, and then for the rest.

        Raises:
            OSError: the rest is too long, or the PDU did not arrive in time.
        """
        if nr_bytes == _HEADER:
            self._until = time.monotonic() + self._within_s
        elif nr_bytes > self._longest:
            self._count(Kind.TOO_LONG)
            raise OSError("the PDU is too long")
        received = bytearray()
        try:
            while len(received) < nr_bytes and (block := self._receive(nr_bytes - len(received))):
                received += block
        except TimeoutError:
            self._count(Kind.TOO_SLOW)
            raise
        return received

    def send(self, bytestream: bytes) -> None:
        """Send bytes; a peer that takes none of them for too long loses the connection."""
        if self.socket is not None:
            self.socket.settimeout(self._within_s)
        super().send(bytestream)

    def _receive(self, wanted: int) -> bytes:
        left_s = self._until - time.monotonic()
        if self.socket is None or left_s <= 0:
            raise TimeoutError("the PDU took too long")
        self.socket.settimeout(left_s)
        return self.socket.recv(min(wanted, _BLOCK))
