"""The status strip at the top of every page, on its own, so that a page can refresh it."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from webui.access.permissions import Permission, needs

pages = Blueprint("status", __name__)


@pages.get("/status/strip")
@needs(Permission.SIGNED_IN)
def strip() -> ResponseReturnValue:
    """Send the content of the strip."""
    return render_template("strip.html")
