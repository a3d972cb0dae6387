"""Who may ask, and what a browser may do with the answer.

There are no logins yet: what protects the page is that only this machine reaches it. Two
attacks go through a browser on this machine, and both are refused here:

- DNS rebinding: a foreign page's own name is pointed at 127.0.0.1, so that its scripts count
  as ours. Its requests still carry that name in `Host`; only our names are answered.
- Cross-site request forgery: a foreign page posts a form to our address. Browsers say so
  themselves, in `Sec-Fetch-Site` (W3C Fetch Metadata) and `Origin` (RFC 6454, section 7),
  which no page can forge. That is checked on every unsafe method and stands in for tokens
  in forms. A request with neither header comes from a program, not from a browser's page.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from webui.dependencies import dependencies
from worker.config import Settings

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# More than any form of ours but an upload holds.
FORM_BYTES = 64 * 1024


def install(app: Flask) -> None:
    """Check every request first, and set the headers of every response last."""
    app.before_request(_check_host)
    app.before_request(_check_origin)
    app.after_request(_protect)


def is_loopback(host: str) -> bool:
    """Whether an address to bind to can be reached from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(settings: Settings) -> set[str]:
    """The names under which the page may be asked for, in lower case."""
    further = (name.strip().lower() for name in settings.allowed_hosts.split(","))
    return _LOOPBACK | {settings.host.lower()} | {name for name in further if name}


def name_of(host: str) -> str | None:
    """The name in a `Host` header without its port; None when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host else None


def same_site(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether an unsafe request comes from our own pages, or from no page at all."""
    if fetch_site is not None and fetch_site not in {"same-origin", "none"}:
        return False
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _check_host() -> None:
    settings = dependencies().settings
    if not settings.allow_remote and name_of(request.host) not in host_names(settings):
        abort(400, "This page answers only under its own name; see the setting allowed_hosts.")


def _check_origin() -> None:
    origin, fetch_site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if request.method not in SAFE_METHODS and not same_site(request.host, origin, fetch_site):
        abort(403, "This came from a page of another site, and so nothing was done.")


def _protect(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if response.mimetype in {"text/html", "application/json"}:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
