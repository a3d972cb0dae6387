"""The connections of the web server: a thread sees a request only when all of it has arrived.

Waitress receives all requests in one loop, larger ones to the disk, and passes complete ones to its threads. So a slow
client takes no thread. Added here: deadlines for headers and bodies, limits of the number of connections, and the
admission of bodies (`webui.spool`).

A trusted proxy (`webui.proxies`) makes connections for many clients. Each of these counts as a connection of the client
whose request it carries, from the end of the request's headers to the end of its answer.
"""

from __future__ import annotations

import json
import socket
import time
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import Error

from webui.proxies import Proxies
from webui.spool import Body, Refused, Spool

# Seconds for a request's first byte, and from there for the end of its headers.
IDLE_S = 15.0
HEADER_S = 10.0
# A body may take this long, and longer at this rate: 64 KB in each 8 seconds on a slow line.
BODY_S = 30.0
LEAST_BYTES_PER_S = 8_192
# Seconds for which a client may take none of its answer.
ANSWER_S = 30.0
# Above the first number, a connection that says nothing makes room; above the second, no more are accepted.
CONNECTIONS_OF_AN_ADDRESS = 64
_MOST_OF_AN_ADDRESS = 256
CONNECTIONS = 512
_SILENT_S = 2.0

_REASONS = {408: "Request Timeout", 413: "Content Too Large", 503: "Unavailable", 507: "Insufficient Storage"}


class Refusal(Error):  # type: ignore[misc]  # noqa: N818 - an answer
    """A request that is not passed to the application."""

    def __init__(self, refused: Refused) -> None:
        """Answer with the refusal's code and sentence."""
        super().__init__(refused.sentence)
        self.code = refused.code
        self.reason = _REASONS[refused.code]


class Answer(ErrorTask):  # type: ignore[misc]
    """The answer to a request that is not passed to the application: a sentence, in JSON for programs."""

    def execute(self) -> None:
        """Write the answer and close the connection."""
        error = self.request.error
        known = isinstance(error, Refusal)
        sentence = error.body if known else f"The request is not valid HTTP: {error.body}."
        for_program = getattr(self.request, "path", "").startswith("/api/")
        body = json.dumps({"error": sentence}) if for_program else sentence
        kind = "application/json" if for_program else "text/plain; charset=utf-8"
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", kind), ("X-Content-Type-Options", "nosniff")]
        if error.code in _REASONS and error.code >= 500:  # noqa: PLR2004 - a server error
            self.response_headers.append(("Retry-After", "60"))
        self.set_close_on_finish()
        data = body.encode()
        self.content_length = len(data)
        self.write(data)


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request while it arrives. Its body is admitted after the headers, and counted.

    Attributes:
        client: address of the client that a trusted proxy vouches for; None without such a proxy, and before the end
            of the headers.
    """

    def __init__(self, adj: Any, connection: Connection) -> None:
        """Belong to a connection."""
        super().__init__(adj)
        self.began = time.monotonic()
        self.body_began = 0.0
        self.client: str | None = None
        self._connection = connection
        self._body: Body | None = None

    def parse_header(self, header_plus: bytes) -> None:
        """Parse request line and headers. The host in an absolute address replaces `Host` (RFC 9112, 3.2.2)."""
        super().parse_header(header_plus)
        if self.proxy_scheme:
            self.headers["HOST"] = self.proxy_netloc
        self.client = self._connection.client_of(self.headers.get("X_FORWARDED_FOR", ""))

    def received(self, data: bytes) -> int:
        """Take the next bytes; return how many belong to this request."""
        before, has_client = self.body_bytes_received, self.client is not None
        consumed: int = super().received(data)
        try:
            if self.client is not None and not has_client:
                self._connection.admit()
            if self._body is not None:
                self._body.add(self.body_bytes_received - before)
            elif self.body_rcv is not None and self.error is None:
                self.body_began = time.monotonic()
                self._body = Body(self._connection.server.spool, self.path)
                self._body.expect(0 if self.chunked else self.content_length)
        except Refused as refused:
            self.refuse(refused)
        return consumed

    def refuse(self, refused: Refused) -> None:
        """End the request with an answer."""
        self.error = Refusal(refused)
        self.expect_continue = False
        self.completed = True

    def is_late(self, now: float) -> bool:
        """Return whether the headers or the body have taken too long."""
        if not self.headers_finished:
            return now - self.began > HEADER_S
        allowed_s: float = BODY_S + self.body_bytes_received / LEAST_BYTES_PER_S
        return now - self.body_began > allowed_s

    def close(self) -> None:
        """Release the body."""
        super().close()
        if self._body is not None:
            self._body.close()


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection of one client."""

    error_task_class = Answer
    request: Request | None
    will_close: bool

    def __init__(self, server: Server, *arguments: Any, **options: Any) -> None:
        """Take a connection that was accepted."""
        self.parser_class = partial(Request, connection=self)
        super().__init__(server, *arguments, **options)
        self.is_of_proxy = server.proxies.trusts(self.peer)

    @property
    def peer(self) -> str:
        """The address at the other end of the connection."""
        return str(self.addr[0])

    @property
    def address(self) -> str:
        """The address of the client whose request is under way; without a request, the peer's."""
        under_way = (request.client for request in (*self.requests, self.request) if request)
        return next((client for client in under_way if client), self.peer)

    def client_of(self, forwarded_for: str) -> str | None:
        """Return the address of the client that the proxy at the other end vouches for; None if that is no proxy."""
        return self.server.proxies.client_of(self.peer, forwarded_for) if self.is_of_proxy else None

    def admit(self) -> None:
        """Make room for the request of a proxy's client. Raises Refused if that client has too many."""
        if not self.server.make_room(self):
            raise Refused(503, "Too many requests at once come from your address. Try again in a moment.")

    @property
    def is_waiting(self) -> bool:
        """Whether all complete requests have their answers, so that the connection may be closed."""
        return not (self.requests or self.total_outbufs_len)

    def close_if_late(self, now: float, wall: float) -> None:
        """Answer a late request, or close a silent connection."""
        with self.requests_lock:
            silent_s = wall - self.last_activity
            if self.requests:
                return
            if self.total_outbufs_len:
                self.will_close = self.will_close or silent_s > ANSWER_S
            elif self.request is None:
                self.will_close = self.will_close or silent_s > IDLE_S
            elif self.request.is_late(now):
                late, self.request = self.request, None
                late.refuse(Refused(408, "The request took too long to arrive. Nothing was accepted."))
                self.requests.append(late)
                self.server.add_task(self)

    def handle_close(self) -> None:
        """Release what the client had sent of its request."""
        if self.request is not None:
            self.request.close()
            self.request = None
        super().handle_close()


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server with deadlines and limits."""

    channel_class = Connection

    def __init__(self, application: Any, spool: Spool, proxies: Proxies, adj: Any) -> None:
        """Bind to the address of `adj`."""
        self.spool, self.proxies = spool, proxies
        super().__init__(application, adj=adj, sockinfo=adj.listen[0])

    def bind_server_socket(self) -> None:
        """Bind to the address; `::` stands for every address, IPv4 included. Raises OSError."""
        if self.sockinfo[3][0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().bind_server_socket()

    def fix_addr(self, addr: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the address of a client; one of IPv4 in its usual form, although the socket is one of IPv6."""
        client = ip_address(addr[0])
        mapped = client.ipv4_mapped if isinstance(client, IPv6Address) else None
        return (str(mapped), addr[1]) if mapped else addr

    def turn(self) -> None:
        """Wait for events, at most a second, and handle them."""
        self.asyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return any(c.requests or c.total_outbufs_len for c in self.active_channels.values())

    def maintenance(self, now: float) -> None:
        """Look at every connection; the loop calls this about once a second."""
        for connection in list(self.active_channels.values()):
            connection.close_if_late(time.monotonic(), now)

    def handle_accept(self) -> None:
        """Accept a connection, and make room if its address has too many."""
        before = set(self.active_channels)
        super().handle_accept()
        for number in set(self.active_channels) - before:
            new = self.active_channels[number]
            if not new.is_of_proxy and not self.make_room(new):
                new.handle_close()

    def make_room(self, new: Connection) -> bool:
        """Close another connection of the client if it has too many. Return whether there is room for `new`."""
        same = [other for other in self.active_channels.values() if other.address == new.address]
        if len(same) <= CONNECTIONS_OF_AN_ADDRESS:
            return True
        crowded = len(same) > _MOST_OF_AN_ADDRESS
        silent_since = time.time() - (0 if crowded else _SILENT_S)
        others = (other for other in same if other is not new and other.is_waiting)
        silent = [other for other in others if other.last_activity < silent_since]
        # One without a request goes first, then the one that was silent for longest.
        longest = min(
            silent, key=lambda other: (other.request is not None, other.last_activity), default=None
        )
        if longest is not None:
            longest.handle_close()
        return longest is not None or not crowded
