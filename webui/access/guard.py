"""Refuses every request that the rule's declared permission does not allow. Denies by default."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Flask, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden

from webui.access import bearer, identity
from webui.access.permissions import Permission, declared, needs

# What a page that is open asks for by itself does not count as use of a session.
_POLLED = {"status.strip", "upload.rows", "home.now", "queue.news", "viewer.claim", "viewer.release"}


class UndeclaredRule(Exception):  # noqa: N818 - the name says what is wrong
    """A URL rule declares no permission."""


def install(app: Flask) -> None:
    """Check each request before it is handled. To be called when every rule is registered.

    Raises:
        UndeclaredRule: a view function declares no permission.
    """
    needs(Permission.EVERYONE)(app.view_functions["static"])
    undeclared = sorted(name for name, view in app.view_functions.items() if declared(view) is None)
    if undeclared:
        raise UndeclaredRule(f"these view functions declare no permission: {', '.join(undeclared)}")
    app.before_request(_admit)


def _admit() -> ResponseReturnValue | None:
    if request.endpoint is None:
        # There is no such rule: the answer is 404 or 405.
        return None
    permission = declared(current_app.view_functions[request.endpoint])
    if permission is Permission.EVERYONE:
        return None
    who = identity.current()
    if permission in who.permissions:
        if request.endpoint not in _POLLED:
            identity.mark_seen()
        return None
    if who.scopes is not None and permission is not None:
        raise bearer.not_granted(permission)
    if who.lacks_second_factor:
        return _ask_for_second_factor()
    if who.is_signed_in:
        raise Forbidden("Your role does not allow this. An administrator can change your roles.")
    return _sign_in()


def _ask_for_second_factor() -> ResponseReturnValue:
    """Send a browser to the page Account, where a person sets a second factor up; refuse everything else."""
    if not _is_page():
        raise Forbidden(
            "Your role needs a second factor. Sign in with one, or set one up on the page Account."
        )
    return redirect(url_for("account.show"), 303)


def _is_page() -> bool:
    """Return whether a browser opens an address, to show it."""
    is_opened = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    is_shown = request.method == "GET" and is_opened and "HX-Request" not in request.headers
    return is_shown and not request.path.startswith(("/api/", "/metrics"))


def _sign_in() -> ResponseReturnValue:
    """Send a browser to the page for signing in, and back afterwards; refuse everything else."""
    if not _is_page():
        raise bearer.not_signed_in()
    target = request.full_path.removesuffix("?")
    return redirect(f"{url_for('sign_in.show')}?{urlencode({'next': target})}", 303)
