"""The web interface: pages and API, as a Flask application that `create_app` builds."""

from webui.app import create_app

__all__ = ["create_app"]
