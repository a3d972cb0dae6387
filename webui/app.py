"""The Flask application, built from the settings. Nothing happens at import."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.routing import BaseConverter, IntegerConverter, Map

from webui import api, error_responses, formatting, pages, request_security, theme
from webui.access import guard, identity, provider_sign_in, sign_in_limits
from webui.cookies import SignedCookie
from webui.dependencies import EXTENSION, Dependencies, dependencies
from webui.ids import LARGEST_ID
from webui.proxies import ProxyHeaders
from webui.spool import FORM_BYTES
from webui.uploads import MAX_PARTS, IncomingRequest
from worker import DISCLAIMER
from worker.config import Settings
from worker.keyfile import previous_keys, secret_key
from worker.ledger.runs import OWN_NAME


class IdConverter(IntegerConverter):
    """An id in a URL, at most the largest integer of the database."""

    def __init__(self, url_map: Map) -> None:
        """Limit ids to `LARGEST_ID`."""
        super().__init__(url_map, max=LARGEST_ID)


class RunConverter(BaseConverter):
    """A run in a URL: its id, or a name that Nightread gave. A name that a person typed never stands in a URL."""

    regex = f"[0-9]{{1,18}}|{OWN_NAME}"


def create_app(settings: Settings) -> Flask:
    """Build the application. This creates the data folder and the cookie's key, and connects to nothing."""
    app = Flask("webui")
    app.request_class = IncomingRequest
    app.session_interface = SignedCookie()
    app.wsgi_app = ProxyHeaders(app.wsgi_app, settings)  # type: ignore[method-assign]  # the way that Flask documents
    key = settings.data / "secret_key"
    app.secret_key = secret_key(key)
    app.config.update(
        SECRET_KEY_FALLBACKS=previous_keys(key),
        MAX_CONTENT_LENGTH=FORM_BYTES,
        MAX_FORM_PARTS=MAX_PARTS,
        MAX_FILE_BYTES=settings.max_bytes,
        SESSION_COOKIE_NAME="nightread",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(days=30),
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    cast("DefaultJSONProvider", app.json).sort_keys = False
    app.url_map.converters.update(id=IdConverter, run=RunConverter)
    app.extensions[EXTENSION] = Dependencies(settings)
    sign_in_limits.install(app, settings)
    provider_sign_in.install(app, settings)
    request_security.install(app)
    error_responses.install(app)
    formatting.install(app)
    app.context_processor(_context_of_every_page)
    for blueprint in (*pages.BLUEPRINTS, *api.BLUEPRINTS):
        app.register_blueprint(blueprint)
    guard.install(app)
    return app


def _context_of_every_page() -> dict[str, object]:
    who = identity.current_if_known()
    status = dependencies().status_cache.read() if who.is_signed_in else None
    chosen = {"theme": theme.chosen(), "THEMES": theme.THEMES}
    return {"disclaimer": DISCLAIMER, "who": who, "status": status, **chosen}
