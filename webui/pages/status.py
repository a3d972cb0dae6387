"""The status strip at the top of every page, on its own, so that a page can refresh it."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

pages = Blueprint("status", __name__)


@pages.get("/status/strip")
def strip() -> ResponseReturnValue:
    """Send the content of the strip."""
    return render_template("strip.html")
