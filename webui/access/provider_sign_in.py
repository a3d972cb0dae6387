"""Signing in through the hospital's sign-in service: the way of one browser there and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from flask import Flask, Response, abort, current_app, request
from sqlalchemy.orm import Session

from webui import cookies
from webui.access import sign_in_limits
from webui.access.oidc import attempt, groups
from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.oidc.provider import Person, Provider
from webui.access.sign_in import start_session
from webui.dependencies import dependencies
from worker.config import Settings
from worker.ledger import identities, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Method
from worker.ledger.tables import User

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_EXTENSION = "nightread_provider"
_COOKIE = "nightread_sign_in"
# A cookie has room for this.
_LONGEST_TARGET = 1500


@dataclass(frozen=True)
class Arrival:
    """A person who came back and is signed in: the key of the session, and the path to open."""

    key: str
    target: str


def install(app: Flask, settings: Settings) -> None:
    """Prepare signing in through the service of the settings; without one, its addresses do not exist."""
    app.extensions[_EXTENSION] = Provider(settings) if settings.oidc_issuer else None
    app.jinja_env.globals["provider_label"] = settings.oidc_label if settings.oidc_issuer else None


def begin(target: str, callback: str) -> tuple[str, str]:
    """Return the address at the service to which the browser goes, and the cookie to give it. Raises SignInFailed."""
    begun = attempt.new_attempt(target if len(target.encode()) <= _LONGEST_TARGET else "/")
    url = _recording(lambda: _service().sign_in_url(begun, _redirect_uri(callback)))
    return url, attempt.sealed(begun, cookies.signing_keys())


def finish(callback: str) -> Arrival:
    """Sign in the person who came back from the service. Raises SignInFailed."""
    begun = attempt.opened(cookies.read(_COOKIE) or "", cookies.signing_keys())
    person = _recording(lambda: _service().person(request.args, begun, _redirect_uri(callback)))
    with dependencies().ledger.transaction() as session:
        key = _admit(session, person)
    if isinstance(key, Fault):
        raise SignInFailed(key)
    return Arrival(key, begun.target if begun else "/")


def set_attempt(response: Response, cookie: str) -> Response:
    """Give the browser the cookie of its attempt."""
    cookies.write(response, _COOKIE, cookie, max_age_s=attempt.LIFETIME_S, same_site="Lax")
    return response


def delete_attempt(response: Response) -> Response:
    """Take the cookie of the attempt back: it was used."""
    if cookies.read(_COOKIE) is not None:
        cookies.delete(response, _COOKIE, same_site="Lax")
    return response


def _admit(session: Session, person: Person) -> str | Fault:
    """Return the key of a new session, or why there is none. Both are on record when the transaction ends."""
    at = ledger_time(session)
    settings = dependencies().settings
    roles, limits = groups.roles(settings, person.groups), settings.session_limits
    user = identities.arrive(
        session, person.issuer, person.subject, names=person.names, roles=roles, limits=limits, at=at
    )
    if user is not None and user.disabled_at is None and roles:
        return start_session(session, user, Method.PROVIDER, at)
    fault = Fault.DISABLED if user is not None and user.disabled_at is not None else Fault.NO_ROLE
    _record(session, fault, user)
    return fault


def _recording(act: Callable[[], _T]) -> _T:
    """Put a failure on record, and raise it again."""
    try:
        return act()
    except SignInFailed as failure:
        with dependencies().ledger.transaction() as session:
            _record(session, failure.fault)
        raise


def _record(session: Session, fault: Fault, user: User | None = None) -> None:
    log.warning("nobody was signed in through the service", fault=fault.code, user=user.id if user else None)
    if sign_in_limits.current().may_record():
        sign_ins.record_failure(session, user, Method.PROVIDER, fault.code, ledger_time(session))


def _service() -> Provider:
    service: Provider | None = current_app.extensions[_EXTENSION]
    return service or abort(404, "No sign-in service is set up here.")


def _redirect_uri(callback: str) -> str:
    """Return the exact address of our callback; `callback` has the host name that was checked on every request."""
    return dependencies().settings.oidc_redirect_uri or callback
