"""Limits of a message: its command, its object, its time, and that each message waits for the answer to the one before.

As shipped, pynetdicom collects a message in memory, however long it is, and queues messages that come without waiting.
Here the object goes to a file while it arrives. `tests/integration/receiving/test_hostile_peers.py` fails when
pynetdicom takes messages in another way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from worker.ledger.receiver_tallies import Kind

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from worker.receiving.incoming import IncomingObject

# The bits of a message control header (PS3.8, E.2).
_OF_COMMAND, _LAST = 1, 2
_LONGEST_COMMAND = 16 * 1024
# A message may take this long, and longer at this rate, like a body in `webui.connections`.
_MESSAGE_S = 30.0
_LEAST_BYTES_PER_S = 8_192
# What is longer than an object may be is read and dropped, so that its sender gets an answer; but not without end.
_MOST_DROPPED = 1024**3
_NO_OBJECT = 0x0101
# The event that the peer broke the protocol: the association is aborted (PS3.8, 9.2).
_INVALID_PDU = "Evt19"

Open = Callable[[str, str, str], "IncomingObject"]
Count = Callable[[Kind], None]


class _Broken(Exception):  # noqa: N818 - says what happened
    """The association must end; `kind` says why."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


@contextmanager
def _from_a_peer() -> Iterator[None]:
    """Take any error of the libraries for a fault of the peer whose bytes they work on."""
    try:
        yield
    except Exception:  # noqa: BLE001 - they raise whatever they trip over
        raise _Broken(Kind.MALFORMED) from None


class BoundedMessages(DIMSEServiceProvider):
    """The messages of one association: C-STORE and C-ECHO requests, one at a time."""

    def __init__(self, association: Association, open_object: Open, count: Count) -> None:
        """Write each object to the file that `open_object(SOP class, SOP instance, transfer syntax)` opens."""
        super().__init__(association)
        self._open_object, self._count = open_object, count
        self._object: IncomingObject | None = None
        self._ended = False
        self._awaits_answer = False
        self._start_message()

    def _start_message(self) -> None:
        self.message = None
        self._command = bytearray()
        self._began = 0.0
        self._received = 0

    @property
    def is_busy(self) -> bool:
        """Whether a message is arriving or waits for its answer."""
        return self._awaits_answer or bool(self._began)

    def take_object(self) -> IncomingObject:
        """Return the object of the message that is now served; the caller removes it."""
        taken, self._object = self._object, None
        if taken is None:
            raise RuntimeError("there is no object")
        return taken

    def discard(self) -> None:
        """Remove an object that nobody has taken. To be called when the association has ended."""
        self._ended = True
        if self._object is not None:
            self._object.remove()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one PDU; abort the association if they break a limit."""
        if self._ended:
            return
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._take(context_id, fragment)
        except _Broken as broken:
            self._ended = True
            self._count(broken.kind)
            self.dul.event_queue.put(_INVALID_PDU)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send the answer to a message; the next one may come."""
        self._awaits_answer = False
        super().send_msg(primitive, context_id)

    def _take(self, context_id: int, fragment: bytes) -> None:
        if self._awaits_answer or not fragment:
            # Nobody has negotiated that several operations may be under way (PS3.7, D.3.3.3).
            raise _Broken(Kind.MALFORMED)
        self._check_time(len(fragment))
        if fragment[0] & _OF_COMMAND:
            self._take_command(context_id, fragment)
        else:
            self._take_data(context_id, fragment)

    def _check_time(self, count: int) -> None:
        now = time.monotonic()
        self._began = self._began or now
        self._received += count
        if now - self._began > _MESSAGE_S + self._received / _LEAST_BYTES_PER_S:
            raise _Broken(Kind.TOO_SLOW)

    def _take_command(self, context_id: int, fragment: bytes) -> None:
        if self.message is not None:
            raise _Broken(Kind.MALFORMED)
        self._command += fragment[1:]
        if len(self._command) > _LONGEST_COMMAND:
            raise _Broken(Kind.TOO_LONG)
        if fragment[0] & _LAST:
            self.message = self._decoded(context_id)
            if self.message.command_set.CommandDataSetType == _NO_OBJECT:
                self._finish()
            else:
                self._object = self._opened(context_id)

    def _decoded(self, context_id: int) -> DIMSEMessage:
        """Decode the command with pynetdicom, which gets all of it at once and never sees the object."""
        whole, message = P_DATA(), DIMSEMessage()
        whole.presentation_data_value_list = [[context_id, bytes([_OF_COMMAND | _LAST]) + self._command]]  # type: ignore[list-item]  # its setter wants lists
        with _from_a_peer():
            message.decode_msg(whole)
            stores = message.command_set.CommandDataSetType != _NO_OBJECT
        if not isinstance(message, C_STORE_RQ if stores else C_ECHO_RQ):
            raise _Broken(Kind.MALFORMED)
        return message

    def _opened(self, context_id: int) -> IncomingObject:
        accepted = {context.context_id: context for context in self.assoc.accepted_contexts}
        command = self.message.command_set if self.message else Dataset()
        sop_class, instance = command.get("AffectedSOPClassUID"), command.get("AffectedSOPInstanceUID")
        # Two values are a list.
        if not (sop_class and instance and isinstance(sop_class, str) and isinstance(instance, str)):
            raise _Broken(Kind.MALFORMED)
        with _from_a_peer():
            return self._open_object(sop_class, instance, accepted[context_id].transfer_syntax[0])

    def _take_data(self, context_id: int, fragment: bytes) -> None:
        if self.message is None or self._object is None or context_id != self.message.context_id:
            raise _Broken(Kind.MALFORMED)
        self._object.write(memoryview(fragment)[1:])
        if self._object.dropped > _MOST_DROPPED:
            raise _Broken(Kind.TOO_LONG)
        if fragment[0] & _LAST:
            self._object.close()
            self._finish()

    def _finish(self) -> None:
        """Queue the message for the thread of the association, which serves it."""
        message = self.message
        if message is None or message.context_id is None:
            raise _Broken(Kind.MALFORMED)
        with _from_a_peer():
            request = message.message_to_primitive()
        self._start_message()
        self._awaits_answer = True
        self.msg_queue.put((message.context_id, request))  # type: ignore[arg-type]  # a request of these two kinds
