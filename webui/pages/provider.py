"""Signing in through the hospital's sign-in service: to it, and back."""

from __future__ import annotations

from flask import Blueprint, after_this_request, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity, provider_sign_in
from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.permissions import Permission, needs
from webui.access.sign_in import set_cookie
from webui.parameters import local_path
from worker.config import OIDC_CALLBACK

pages = Blueprint("provider", __name__)

_RETRY_S = "5"


@pages.get("/sign-in/provider")
@needs(Permission.EVERYONE)
def begin() -> ResponseReturnValue:
    """Send the browser to the service.

    A link and no form leads here: our Content-Security-Policy lets no form end at another site.
    """
    target = local_path(request.args.get("next", ""))
    if identity.current().is_signed_in:
        return redirect(target, 303)
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        # A page of another site must not sign somebody in whom the service still knows.
        return redirect(url_for("sign_in.show", next=target), 303)
    url, cookie = provider_sign_in.begin(target, _callback())
    return provider_sign_in.set_attempt(current_app.make_response(redirect(url, 303)), cookie)


@pages.get(OIDC_CALLBACK)
@needs(Permission.EVERYONE)
def come_back() -> ResponseReturnValue:
    """Sign the browser in and let a page of ours lead on.

    A browser sends no Strict cookie with a request that the service's page began, and a redirect is a part of that
    request. The page of ours begins a new one.
    """
    arrival = provider_sign_in.finish(_callback())
    page = current_app.make_response(render_template("signed_in.html", target=arrival.target))
    return provider_sign_in.delete_attempt(set_cookie(page, arrival.key))


@pages.errorhandler(SignInFailed)
def failed(failure: SignInFailed) -> ResponseReturnValue:
    """Say why nobody was signed in."""
    fault = failure.fault
    if fault is not Fault.STATE:
        # Of a wrong state, the attempt was another one, which may still come back.
        after_this_request(provider_sign_in.delete_attempt)
    headers = {"Retry-After": _RETRY_S} if fault is Fault.AWAY else {}
    page = render_template("error.html", title="You are not signed in", sentence=fault.sentence)
    return page, fault.status, headers


def _callback() -> str:
    return url_for("provider.come_back", _external=True)
