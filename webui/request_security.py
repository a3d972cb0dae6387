"""Protection against other sites: checks on every request, and security headers on every response.

There are no logins yet. The web interface is protected because only this machine can reach it. Two attacks
go through a browser on this machine, and both are blocked here:

- DNS rebinding: the attacker points the name of their own site at 127.0.0.1, so that the browser treats
  our pages as part of that site. Such a request still carries the attacker's name in `Host`. Only requests
  under our own names are answered.
- Cross-site request forgery: another site's page posts a form to our address. Browsers report this in
  `Sec-Fetch-Site` (W3C Fetch Metadata) and `Origin` (RFC 6454, section 7), which a page cannot forge. Both
  are checked on every unsafe method, in place of form tokens. A request with neither header comes from a
  program, not from a page in a browser.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from webui.dependencies import dependencies
from worker.config import Settings

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# No name of a machine, although some systems connect to themselves under it.
_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - a comparison
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


def install(app: Flask) -> None:
    """Check every request before it is handled, and add the headers to every response."""
    app.before_request(_check_host)
    app.before_request(_check_origin)
    app.before_request(_check_characters)
    app.after_request(_add_headers)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address that the server binds to."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(settings: Settings) -> set[str]:
    """Return the host names that are answered, in lower case."""
    extra = (name.strip().lower() for name in settings.allowed_hosts.split(","))
    own = set() if settings.host in _EVERY_ADDRESS else {settings.host.lower()}
    return _LOOPBACK | own | {name for name in extra if name}


def host_name(host: str) -> str | None:
    """Return the name in a `Host` header without its port; None when the header is malformed or names a user."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def same_site(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Return whether an unsafe request comes from one of our pages, or from a program."""
    if fetch_site is not None and fetch_site not in {"same-origin", "none"}:
        return False
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _check_host() -> None:
    settings = dependencies().settings
    if host_name(request.host) not in host_names(settings):
        abort(400, "Nightread does not answer under this host name. See the setting NIGHTREAD_ALLOWED_HOSTS.")


def _check_origin() -> None:
    origin, fetch_site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if request.method not in SAFE_METHODS and not same_site(request.host, origin, fetch_site):
        abort(403, "This request came from a page of another site. Nothing was changed.")


def _check_characters() -> None:
    """Refuse what no database can compare or store, wherever it stands in the address."""
    parts = [request.path, *(text for pair in request.args.items(multi=True) for text in pair)]
    if any("\x00" in part for part in parts):
        abort(400, "The address contains the character NUL.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
