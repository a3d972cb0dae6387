"""The strip on top of every page, alone, for its refresh."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

pages = Blueprint("status", __name__)


@pages.get("/status/strip")
def strip() -> ResponseReturnValue:
    """The strip's inside; its figures come with every page."""
    return render_template("strip.html")
