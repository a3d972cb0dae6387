"""What people see: the pages and the API, as a Flask application built by `create_app`."""

from webui.app import create_app

__all__ = ["create_app"]
