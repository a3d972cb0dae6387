"""Accepts connections, and ends each one: pynetdicom's server with an address check, places, TLS and deadlines.

The address is checked, and a place taken, before the first byte is read. The TLS handshake happens in the connection's
own thread: as shipped, pynetdicom does it in the loop that accepts connections, where a peer that says nothing keeps all
others waiting. `tests/integration/receiving/test_hostile_peers.py` fails when pynetdicom's server works in another way.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import time
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, _config, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.addresses import is_loopback
from worker.config import Settings
from worker.defects import log_defect
from worker.ledger.receiver_tallies import Kind
from worker.receiving.connection import BoundedSocket
from worker.receiving.contexts import offered_contexts
from worker.receiving.counting import Counts
from worker.receiving.messages import BoundedMessages
from worker.receiving.places import Place, Places
from worker.receiving.storing import Storing
from worker.receiving.tls import tls_context

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

# Seconds for a TLS handshake, and from there for the request of an association.
_GREETING_S = 15.0
# Seconds in which a PDU must be complete.
_PDU_S = 30.0
_LOOK_S = 0.1
_FINISH_WITHIN_S = 8.0
# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8, table 9-21): rejected for now, local limit exceeded.
_NO_PLACE = (0x02, 0x03, 0x02)
_REJECTED_BECAUSE = {(1, 3): Kind.CALLING_TITLE, (1, 7): Kind.CALLED_TITLE}
# The limits of `Places` count instead.
_NO_LIMIT = 1_000_000


class _Connection(RequestHandler):
    """One connection, from its first byte to its end; it has a thread of its own, besides pynetdicom's two."""

    server: Receiver

    def handle(self) -> None:
        """Serve the association, and return when it has ended."""
        self._association: Association | None = None
        self._place = self.server.place_of(self.request)
        try:
            self._secure()
            super().handle()
            self._wait()
        finally:
            if self._association is not None:
                self._association.dimse.discard()
            self.server.shutdown_request(self.request)

    def _secure(self) -> None:
        self.request.settimeout(_GREETING_S)
        if self.server.tls is not None:
            try:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            except OSError as error:
                self.server.counts.add(Kind.TLS, self.client_address[0])
                raise _Ended from error

    def _create_association(self) -> Association:
        """Replace the parts of an association that have no limits."""
        association = super()._create_association()
        server = self.server
        # The event that the connection is open comes from the socket that is used.
        association.dul.event_queue.get_nowait()
        association.dul.socket = None
        association.set_socket(
            BoundedSocket(
                association,
                self.request,
                longest=server.settings.dicom_pdu_bytes,
                within_s=min(_PDU_S, server.settings.dicom_silence_s),
                count=self._count,
            )
        )
        association.dimse = BoundedMessages(association, server.storing.open_object, self._count)
        association.dul.daemon = True
        association.bind(evt.EVT_REQUESTED, self._tell_that_crowded)
        association.bind(evt.EVT_REJECTED, self._count_rejected)
        self._association = association
        return association

    def _count(self, kind: Kind) -> None:
        self.server.counts.add(kind, self.client_address[0])

    def _tell_that_crowded(self, event: Event) -> None:
        if self._place is Place.TOLD:
            self._count(Kind.CROWDED)
            event.assoc.acse.send_reject(*_NO_PLACE)
            event.assoc.is_rejected = True
            event.assoc.kill()

    def _count_rejected(self, event: Event) -> None:
        answer = event.assoc.acceptor.primitive
        reason = (answer.result_source, answer.diagnostic) if answer is not None else (0, 0)
        kind = _REJECTED_BECAUSE.get(reason)  # type: ignore[arg-type]  # of another reason: None
        if kind is not None:
            self._count(kind)

    def _wait(self) -> None:
        association = self._association
        while association is not None and association.is_alive():
            # A peer that leaves before it has asked for an association: nobody tells the thread that waits for this.
            if association.dul.ident is not None and not association.dul.is_alive():
                association.dul.to_user_queue.put(None)
            association.join(_LOOK_S)
        if association is not None:
            association.dul.join()


class _Ended(Exception):  # noqa: N818 - says what happened
    """The connection ended before there was an association."""


class Receiver(ThreadedAssociationServer):
    """The listening socket, and its connections."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, settings: Settings, storing: Storing, counts: Counts) -> None:
        """Listen. Raises OSError when the address cannot be used, WrongSettings for TLS files that cannot be used."""
        self.settings, self.storing, self.counts = settings, storing, counts
        self.tls = tls_context(settings)
        self._places = Places(settings.dicom_associations, settings.dicom_associations_per_address)
        # By their sockets: a peer may use its port again before the last connection from there is forgotten.
        self._taken: dict[Any, Place] = {}
        # Its logs hold what peers send.
        _config.LOG_HANDLER_LEVEL = "none"
        super().__init__(
            _application(settings),
            (settings.dicom_host, settings.dicom_port),
            settings.dicom_ae_title,
            offered_contexts(),
            evt_handlers=[(evt.EVT_C_STORE, storing.store)],
            request_handler=_Connection,
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether a connection is accepted: its address is on the list, and there is a place for it."""
        address = plain_address(client_address[0])
        if not self._is_allowed(address):
            self.counts.add(Kind.ADDRESS, address)
            return False
        place = self._places.take(address)
        if place is Place.NONE:
            self.counts.add(Kind.CROWDED, address)
            return False
        self._taken[request] = place
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for the connection."""
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave(request, client_address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Log a defect; the base class would print what the peer sent."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, _Ended | OSError):
            log_defect("a defect ended a DICOM connection", error)

    def close(self) -> None:
        """Accept nothing more. Let every object that is arriving arrive and be answered, for some seconds."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        until = time.monotonic() + _FINISH_WITHIN_S
        while (open_now := self.active_associations) and time.monotonic() < until:
            for association in open_now:
                if not association.is_established:
                    _cut(association)
                elif not association.dimse.is_busy:  # type: ignore[attr-defined]  # BoundedMessages
                    association.abort(block=False)
            time.sleep(_LOOK_S)
        for association in self.active_associations:
            _cut(association)

    def server_bind(self) -> None:
        """Bind to the address; `::` stands for every address, IPv4 included. Raises OSError."""
        if self.settings.dicom_host == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # type: ignore[union-attr]  # it exists by now
        super().server_bind()

    def place_of(self, request: Any) -> Place:
        """Return what the connection of a socket got."""
        return self._taken[request]

    def _is_allowed(self, address: str) -> bool:
        networks = self.settings.dicom_networks
        if not networks:
            return is_loopback(address)
        return any(ip_address(address) in network for network in networks)

    def _leave(self, request: Any, client_address: tuple[Any, ...]) -> None:
        place = self._taken.pop(request, None)
        if place is not None:
            self._places.leave(plain_address(client_address[0]), place)


def _cut(association: Association) -> None:
    """End a connection at once."""
    with suppress(OSError, AttributeError):
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


def _application(settings: Settings) -> AE:
    application = AE(settings.dicom_ae_title)
    application.require_called_aet = True
    application.require_calling_aet = list(settings.calling_ae_titles)
    application.maximum_associations = _NO_LIMIT
    application.maximum_pdu_size = settings.dicom_pdu_bytes
    application.acse_timeout = min(_GREETING_S, settings.dicom_silence_s)
    application.dimse_timeout = application.network_timeout = settings.dicom_silence_s
    return application


def plain_address(address: str) -> str:
    """Return an address; one of IPv4 in its usual form, although the socket is one of IPv6."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
