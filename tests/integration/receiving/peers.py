"""A receiver in this process, and a peer that speaks the upper layer protocol (PS3.8) byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode
from sqlalchemy import select

from tests.conftest import make_settings, wait_for
from tests.ledgers import current_ledger
from worker.config import Settings
from worker.intake.accept import Acceptor
from worker.ledger.receiver_tallies import Kind
from worker.ledger.session import Ledger
from worker.ledger.states import Lane
from worker.ledger.tables import Receipt
from worker.receiving.counting import Counts
from worker.receiving.server import Receiver
from worker.receiving.storing import Storing
from worker.store import open_store

VERIFICATION, CR = "1.2.840.10008.1.1", str(uid.ComputedRadiographyImageStorage)
IMPLICIT = str(uid.ImplicitVRLittleEndian)
REQUEST, ACCEPTED, REJECTED, DATA, ABORT = 1, 2, 3, 4, 7
COMMAND, LAST = 1, 2
# Of an A-ASSOCIATE-RJ: result, source and reason.
CROWDED = (2, 3, 2)


@dataclass
class Running:
    """A receiver that runs in threads of this process."""

    settings: Settings
    ledger: Ledger
    acceptor: Acceptor
    counts: Counts
    storing: Storing
    receiver: Receiver
    published: list[int] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.receiver.server_address[1])

    def counted(self, kind: Kind) -> int:
        """Return how often it counted something."""
        return self.counts._counts[kind]

    def receipts(self) -> Sequence[Receipt]:
        """Return all receipts in their order."""
        with self.ledger.reading() as session:
            return session.scalars(select(Receipt).order_by(Receipt.id)).all()

    def left_in_spool(self) -> list[Path]:
        """Return the files of objects that are arriving."""
        return list(self.settings.incoming.iterdir())

    def wait_until_free(self) -> None:
        """Wait until no connection is left."""
        wait_for(lambda: not self.receiver._taken, "the end of every connection")


@contextmanager
def running(folder: Path, **overrides: object) -> Iterator[Running]:
    """Start a receiver with these settings, on a free port."""
    settings = make_settings(folder / "data", **overrides)
    settings.incoming.mkdir(parents=True)
    ledger = current_ledger(settings.database)
    acceptor, counts = Acceptor(settings, ledger, open_store(settings)), Counts()
    published: list[int] = []

    def publish(image_ids: Sequence[int], _lane: Lane) -> None:
        published.extend(image_ids)

    storing = Storing(settings, acceptor, publish, counts)
    receiver = Receiver(settings, storing, counts)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Running(settings, ledger, acceptor, counts, storing, receiver, published)
    finally:
        receiver.close()
        thread.join()
        ledger.close()


Start = Callable[..., Running]


class Peer:
    """A connection to a receiver."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        """Connect from an address of this machine."""
        self._socket = socket.create_connection(("127.0.0.1", port), 60, (address, 0))

    def send(self, data: bytes) -> None:
        """Send bytes; the receiver may have closed the connection already."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def associate(self, **options: Any) -> int:
        """Ask for an association, and return the type of the answer; 0 if there is none."""
        self.send(request(**options))
        return self.answer()[0]

    def answer(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; 0 if the connection ends instead."""
        header = self._read(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, self._read(length)

    def status(self) -> int:
        """Return the status in the next message; -1 if there is none."""
        kind, body = self.answer()
        if kind != DATA:
            return -1
        at = body.index(b"\0\0\0\x09\x02\0\0\0")
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def ends(self) -> bool:
        """Wait for the end of the connection. Return whether it came."""
        while self.answer()[0]:
            pass
        return True

    def close(self) -> None:
        """Close the connection without a word."""
        self._socket.close()

    def _read(self, count: int) -> bytes:
        data = b""
        with suppress(ConnectionError):
            while len(data) < count and (block := self._socket.recv(count - len(data))):
                data += block
        return data


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return a PDU; it may say another length than it has."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def request(
    called: str = "NIGHTREAD",
    calling: str = "PEER",
    contexts: Sequence[tuple[int, str]] = ((1, VERIFICATION), (3, CR)),
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8, 9.3.2) for these classes, in implicit little endian."""
    offers = b"".join(
        _item(0x20, struct.pack("B3x", number) + _item(0x30, name.encode()) + _item(0x40, IMPLICIT.encode()))
        for number, name in contexts
    )
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3"))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    body = (
        struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, b"1.2.840.10008.3.1.1.1") + offers + user
    )
    return pdu(REQUEST, body)


def fragment(control: int, data: bytes, context: int = 3) -> bytes:
    """Return a P-DATA-TF with one fragment (PS3.8, 9.3.5)."""
    return pdu(DATA, struct.pack(">IBB", len(data) + 2, context, control) + data)


def command(
    field: int, *, has_object: bool, sop_class: str = CR, instance: str = "1.2.3", **more: Any
) -> bytes:
    """Return the command of a request (PS3.7, E.1): 0x0001 is C-STORE, 0x0030 is C-ECHO."""
    elements = Dataset()
    elements.AffectedSOPClassUID, elements.CommandField, elements.MessageID = sop_class, field, 1
    elements.CommandDataSetType = 0x0001 if has_object else 0x0101
    if has_object:
        elements.Priority, elements.AffectedSOPInstanceUID = 0, instance
    for keyword, value in more.items():
        setattr(elements, keyword, value)
    encoded = encode(elements, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return encoded


def echo(message: bytes | None = None) -> bytes:
    """Return a C-ECHO request."""
    return fragment(COMMAND | LAST, message or command(0x0030, has_object=False, sop_class=VERIFICATION), 1)


def store(instance: str = "1.2.3") -> bytes:
    """Return the command of a C-STORE request, after which the object must come."""
    return fragment(COMMAND | LAST, command(0x0001, has_object=True, instance=instance))


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(data)) + data
