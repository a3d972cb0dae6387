"""Protection against other sites: checks on every request, and security headers on every response.

Two attacks go through the browser of a person who is signed in, and both are blocked here:

- DNS rebinding: the attacker points the name of their own site at 127.0.0.1, so that the browser treats
  our pages as part of that site. Such a request still carries the attacker's name in `Host`. Only requests
  under our own names are answered.
- Cross-site request forgery: another site's page posts a form to our address. Browsers report this in
  `Sec-Fetch-Site` (W3C Fetch Metadata) and `Origin` (RFC 6454, section 7), which a page cannot forge. Both
  are checked on every unsafe method, in place of form tokens. A request with neither header comes from a
  program, which has no cookie: with a cookie, it is refused. No safe method changes anything, so they need no
  check.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from webui.access import bearer
from webui.dependencies import dependencies
from webui.proxies import came_through_proxy
from worker.addresses import is_loopback
from worker.config import Settings

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# No name of a machine, although some systems connect to themselves under it.
_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - a comparison
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# What is the same for everybody: it may stay in a browser. Everything else is personal.
_FOR_EVERYBODY = {"static", "images.scale"}
_FOREIGN = "This request came from a page of another site. Nothing was changed."
_UNKNOWN_PAGE = (
    "This request has a cookie and does not say which page it came from. Nothing was changed. Use a current browser; "
    "a program must send no cookie."
)
# For two years (RFC 6797, section 6.1).
_TLS_ONLY = "max-age=63072000; includeSubDomains"
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def install(app: Flask) -> None:
    """Check every request before it is handled, and add the headers to every response."""
    app.before_request(_check_way)
    app.before_request(_check_host)
    app.before_request(_check_origin)
    app.before_request(_check_characters)
    app.after_request(_add_headers)


def host_names(settings: Settings) -> set[str]:
    """Return the host names that are answered, in lower case."""
    own = set() if settings.host in _EVERY_ADDRESS else {settings.host.lower()}
    return _LOOPBACK | own | set(settings.host_names)


def host_name(host: str) -> str | None:
    """Return the name in a `Host` header without its port; None when the header is malformed or names a user."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def same_site(own: str, origin: str | None, fetch_site: str | None, *, has_cookie: bool) -> bool:
    """Return whether an unsafe request comes from one of our pages, or from a program, which sends no cookie.

    `own` is the origin of our pages. A page over TLS has the same origin as ours without TLS, because a proxy that is
    not declared hides it; a page without TLS is foreign to ours with TLS.
    """
    if origin is None and fetch_site is None:
        return not has_cookie
    if fetch_site is not None and fetch_site not in {"same-origin", "none"}:
        return False
    return origin is None or origin.lower() in {own.lower(), own.lower().replace("http://", "https://", 1)}


def _check_way() -> None:
    """Refuse a request from another machine that goes around the proxy, and with it around TLS and its limits."""
    is_direct = dependencies().settings.proxy_hops and not came_through_proxy(request.environ)
    if is_direct and not is_loopback(request.remote_addr or ""):
        abort(403, "Nightread answers through its proxy only. See the setting NIGHTREAD_PROXY_ADDRESSES.")


def _check_host() -> None:
    settings = dependencies().settings
    if host_name(request.host) not in host_names(settings):
        abort(400, "Nightread does not answer under this host name. See the setting NIGHTREAD_ALLOWED_HOSTS.")


def _check_origin() -> None:
    if request.method in SAFE_METHODS:
        return
    origin, fetch_site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    own = f"{request.scheme}://{request.host}"
    # No page can add a token to a request: the key alone decides who sent it, and the cookie counts nothing.
    has_cookie = "Cookie" in request.headers and bearer.key_of_request() is None
    if not same_site(own, origin, fetch_site, has_cookie=has_cookie):
        abort(403, _FOREIGN if origin or fetch_site else _UNKNOWN_PAGE)


def _check_characters() -> None:
    """Refuse what no database can compare or store, wherever it stands in the address."""
    parts = [request.path, *(text for pair in request.args.items(multi=True) for text in pair)]
    if any("\x00" in part for part in parts):
        abort(400, "The address contains the character NUL.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # Not for `localhost`: it would keep browsers from every other program of this machine (RFC 6797, 8.1).
    if request.is_secure and host_name(request.host) not in _LOOPBACK:
        response.headers["Strict-Transport-Security"] = _TLS_ONLY
    if request.endpoint not in _FOR_EVERYBODY:
        response.headers["Cache-Control"] = "no-store"
    return response
