"""The Flask application, built from the settings. Nothing happens at import."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from werkzeug.routing import IntegerConverter, Map

from webui import api, error_responses, formatting, pages, request_security
from webui.dependencies import EXTENSION, Dependencies, dependencies
from webui.ids import LARGEST_ID
from webui.readers import reader_name
from webui.spool import FORM_BYTES
from webui.uploads import IncomingRequest
from worker import DISCLAIMER
from worker.config import Settings
from worker.keyfile import secret_key


class IdConverter(IntegerConverter):
    """An id in a URL, at most the largest integer of the database."""

    def __init__(self, url_map: Map) -> None:
        """Limit ids to `LARGEST_ID`."""
        super().__init__(url_map, max=LARGEST_ID)


def create_app(settings: Settings) -> Flask:
    """Build the application. This creates the data folder and the cookie's key, and connects to nothing."""
    app = Flask("webui")
    app.request_class = IncomingRequest
    app.secret_key = secret_key(settings.data / "secret_key")
    app.config.update(
        MAX_CONTENT_LENGTH=FORM_BYTES,
        MAX_FILE_BYTES=settings.max_bytes,
        SESSION_COOKIE_NAME="nightread",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(days=30),
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    cast("DefaultJSONProvider", app.json).sort_keys = False
    app.url_map.converters["id"] = IdConverter
    app.extensions[EXTENSION] = Dependencies(settings)
    request_security.install(app)
    error_responses.install(app)
    formatting.install(app)
    app.context_processor(_context_of_every_page)
    for blueprint in (*pages.BLUEPRINTS, *api.BLUEPRINTS):
        app.register_blueprint(blueprint)
    return app


def _context_of_every_page() -> dict[str, object]:
    return {"disclaimer": DISCLAIMER, "reader": reader_name(), "status": dependencies().status_cache.read()}
