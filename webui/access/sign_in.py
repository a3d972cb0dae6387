"""Signing a browser in and out: the session in the ledger and its cookie."""

from __future__ import annotations

from datetime import datetime

from flask import Response, current_app, redirect, request
from sqlalchemy.orm import Session

from webui import cookies
from webui.access import devices, identity
from webui.dependencies import dependencies
from worker.ledger import actors, sign_ins
from worker.ledger.sign_ins import Method
from worker.ledger.tables import User


def start_session(session: Session, user: User, method: Method, at: datetime) -> str:
    """Start a session for this browser, end the one that it has, and return the key for `set_cookie`."""
    end_this_session(session, at)
    address, browser = request.remote_addr or "", request.user_agent.string
    return sign_ins.start(session, user, method, address=address, browser=browser, at=at)[1]


def end_this_session(session: Session, at: datetime) -> None:
    """End the session of this browser, if it has one."""
    who, limits = identity.current(), dependencies().settings.session_limits
    if who.user_id is not None and who.session_id is not None:
        actor = actors.user(who.user_id)
        sign_ins.end(session, who.session_id, limits, user_id=who.user_id, actor=actor, at=at)


def end_other_sessions(session: Session, user: User, at: datetime) -> None:
    """End all sessions and links of the person who asks, but the session of this browser."""
    who, limits = identity.current(), dependencies().settings.session_limits
    sign_ins.end_all(session, user, limits, actor=who.actor, at=at, but=who.session_id)


def signed_in(target: str, user_id: int, key: str) -> Response:
    """Return the response that gives a browser its session, remembers the browser, and leads to a page."""
    return give_session(current_app.make_response(redirect(target, 303)), user_id, key)


def give_session(response: Response, user_id: int, key: str) -> Response:
    """Give the browser its session, and remember the browser."""
    devices.remember(response, user_id)
    return set_cookie(response, key)


def set_cookie(response: Response, key: str) -> Response:
    """Give the browser the key of its session."""
    cookies.write(response, identity.COOKIE, key, max_age_s=round(dependencies().settings.session_s))
    return response


def delete_cookie(response: Response) -> Response:
    """Take the key back, and let the browser forget what it has seen of this site (W3C Clear Site Data)."""
    cookies.delete(response, identity.COOKIE)
    # Without "cookies": on localhost, those of other programs would go, too.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
