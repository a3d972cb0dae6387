"""Proxies in front of the web server: whose word about a client counts.

`NIGHTREAD_PROXY_ADDRESSES` says which machines are our proxies, and `NIGHTREAD_PROXY_HOPS` which entry of
`X-Forwarded-For` the last of them vouches for. Both are needed: without the addresses, whoever reaches the port could
claim any address; without the number, a client behind the proxies could. The proxy must pass on `Host`:
`X-Forwarded-Host` never counts, because a proxy that does not know it would pass on what a client sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from werkzeug.middleware.proxy_fix import ProxyFix

from worker.config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HEADERS = tuple(
    f"HTTP_{name}"
    for name in (
        "FORWARDED",
        "X_FORWARDED_BY",
        "X_FORWARDED_FOR",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PORT",
        "X_FORWARDED_PREFIX",
        "X_FORWARDED_PROTO",
    )
)
_CAME_THROUGH = "nightread.came_through_proxy"
# ProxyFix starts no response of its own.
_NO_RESPONSE: Any = None


class Proxies:
    """The proxies that are trusted."""

    def __init__(self, settings: Settings) -> None:
        """Trust nobody if `proxy_hops` is 0."""
        self._networks = settings.proxy_networks if settings.proxy_hops else ()
        # The nearest proxy says which scheme the client uses; one behind another passes on what the first one said.
        self._fix = ProxyFix(lambda _environ, _start_response: (), x_for=settings.proxy_hops, x_proto=1)

    def trusts(self, peer: str) -> bool:
        """Return whether the machine at the other end of a connection is one of our proxies."""
        address = ip_address(peer) if self._networks else None
        return any(address in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: str) -> str:
        """Return the address of the client: what a trusted proxy vouches for, otherwise the peer's own."""
        environ: WSGIEnvironment = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded_for}
        self.apply(environ)
        return str(environ["REMOTE_ADDR"])

    def apply(self, environ: WSGIEnvironment) -> None:
        """Set client's address and scheme from the headers of a trusted proxy. Remove these headers from every request."""
        peer = environ["REMOTE_ADDR"]
        if self.trusts(peer):
            self._fix(environ, _NO_RESPONSE)
            environ[_CAME_THROUGH] = True
            if not _is_address(environ["REMOTE_ADDR"]):
                environ["REMOTE_ADDR"] = peer
            if environ.get("wsgi.url_scheme") != "https":
                environ["wsgi.url_scheme"] = "http"
        for name in _HEADERS:
            environ.pop(name, None)


class ProxyHeaders:
    """WSGI middleware: the application sees the client's address and scheme."""

    def __init__(self, application: WSGIApplication, settings: Settings) -> None:
        """Wrap `application`."""
        self._application, self._proxies = application, Proxies(settings)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        self._proxies.apply(environ)
        return self._application(environ, start_response)


def came_through_proxy(environ: WSGIEnvironment) -> bool:
    """Return whether a trusted proxy sent the request."""
    return bool(environ.get(_CAME_THROUGH))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
