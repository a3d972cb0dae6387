"""The response to a request that fails: a page for people, `{"error": sentence}` for programs."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, HTTPException, InternalServerError, Unauthorized

from webui.access import bearer
from webui.access.identity import NoName
from webui.access.on_record import record_refusal
from webui.formatting import as_sentence
from webui.kept_form import kept_form
from webui.parameters import is_by_script, local_path
from webui.uploads import MAX_FILES
from worker.errors import DatabaseAway, DiskFull, TransientFailure
from worker.ledger.review import ReviewRefused
from worker.ledger.states import IllegalTransition
from worker.ledger.tokens import InvalidToken
from worker.outages import DATABASE, OUTAGES

log = structlog.get_logger(__name__)

_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible now",
    410: "No longer there",
    413: "Upload too large",
    500: "Internal error",
    503: "Temporarily unavailable",
    507: "The disk is nearly full",
}
_SENTENCES = {
    404: "There is no page at this address.",
    405: "This address does not accept requests with this method.",
    413: "The request is too large, has too many parts, or has too long a field. "
    f"Send at most {MAX_FILES:,} files at once.",
    500: "An internal error occurred. Everything that was recorded before is safe. The log has the details.",
}
_FIRST_ERROR_STATUS = 400
_REFUSED = {Unauthorized.code, Forbidden.code}
_UNREACHABLE = "The database or the image store cannot be reached. No data is lost. Try again in a moment."
_PATHS_FOR_PROGRAMS = ("/api/", "/healthz", "/metrics", "/readyz")


def install(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(TransientFailure, _unavailable)
    app.register_error_handler(ReviewRefused, _conflict)
    app.register_error_handler(IllegalTransition, _conflict)
    app.register_error_handler(NoName, _no_name)
    app.register_error_handler(InvalidToken, _invalid_token)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    code = error.code or InternalServerError.code
    if code < _FIRST_ERROR_STATUS:
        return error
    own_sentence = error.description if error.description != type(error).description else None
    headers = [pair for pair in error.get_headers() if pair[0] in {"Allow", "Retry-After", bearer.CHALLENGE}]
    if code == Unauthorized.code and "HX-Request" in request.headers:
        # A page that is open leaves its content when its session has ended.
        headers.append(("HX-Redirect", _sign_in_and_back()))
    if code in _REFUSED:
        record_refusal(code)
    return _response(code, own_sentence or _SENTENCES.get(code) or f"{error.name}.", headers)


def _unavailable(failure: TransientFailure) -> ResponseReturnValue:
    if isinstance(failure, DatabaseAway):
        OUTAGES.failed(DATABASE, failure)
    else:
        # Not the address: somebody may have written a name into it.
        log.warning("a request could not be answered", page=request.endpoint, error=str(failure))
    if isinstance(failure, DiskFull):
        return _response(507, as_sentence(failure), [("Retry-After", "60")])
    return _response(503, _UNREACHABLE, [("Retry-After", "5")])


def _conflict(error: Exception) -> ResponseReturnValue:
    return _response(409, as_sentence(error), [])


def _invalid_token(error: InvalidToken) -> ResponseReturnValue:
    record_refusal(401)
    return _response(401, str(error), [(bearer.CHALLENGE, bearer.challenge(error="invalid_token"))])


def _no_name(_error: NoName) -> ResponseReturnValue:
    """Ask a person for their name and send them back afterwards; tell a program what is missing."""
    if _is_for_program():
        return _response(409, "Enter your name on the page Account first.", [])
    referrer = urlsplit(request.referrer or "")
    target = f"{referrer.path}?{referrer.query}" if referrer.path else "/"
    return redirect(url_for("account.show", next=target), 303)


def _response(code: int, sentence: str, headers: list[tuple[str, str]]) -> ResponseReturnValue:
    if _is_for_program():
        return {"error": sentence}, code, headers
    title = _TITLES.get(code, "Error")
    page = render_template("error.html", title=title, sentence=sentence, kept=kept_form(code))
    return page, code, headers


def _is_for_program() -> bool:
    return request.path.startswith(_PATHS_FOR_PROGRAMS) or is_by_script()


def _sign_in_and_back() -> str:
    """Return the address of the page for signing in, which leads back to the page that is open."""
    opened = urlsplit(request.headers.get("HX-Current-URL", ""))
    path = local_path(f"{opened.path}?{opened.query}".removesuffix("?"))
    return url_for("sign_in.show", next=path if path != "/" else None)
