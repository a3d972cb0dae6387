"""What a person, or a program, is told when something does not work."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError

from webui.formatting import as_sentence
from webui.readers import HEADER, NoReader
from worker.errors import DiskFull, TransientFailure
from worker.ledger.review import ReviewRefused
from worker.ledger.states import IllegalTransition

log = structlog.get_logger(__name__)

_TITLES = {
    400: "That cannot be done",
    403: "Refused",
    404: "Not found",
    405: "Not in this way",
    409: "Not now",
    413: "Too much at once",
    500: "Something broke",
    503: "Out of reach for the moment",
    507: "The disk is nearly full",
}
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take requests of that kind.",
    413: "More was sent at once than is taken. Send fewer files together.",
    500: "Nightread has a defect here. What was recorded before is safe; the log has the particulars.",
}
_FIRST_FAILURE = 400
_OUT_OF_REACH = "The database or the store cannot be reached; nothing is lost. Try again in a moment."
_FOR_PROGRAMS = ("/api/", "/healthz", "/metrics", "/readyz")


def install(app: Flask) -> None:
    """Answer failures in words: a page for people, `{"error": sentence}` for programs."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(TransientFailure, _transient)
    app.register_error_handler(ReviewRefused, _conflict)
    app.register_error_handler(IllegalTransition, _conflict)
    app.register_error_handler(NoReader, _no_reader)


def _http(error: HTTPException) -> ResponseReturnValue:
    code = error.code or InternalServerError.code
    if code < _FIRST_FAILURE:
        return error
    said = error.description if error.description != type(error).description else None
    headers = [pair for pair in error.get_headers() if pair[0] in {"Allow", "Retry-After"}]
    return _answer(code, said or _SENTENCES.get(code) or f"{error.name}.", headers)


def _transient(failure: TransientFailure) -> ResponseReturnValue:
    log.warning("a request could not be answered", path=request.path, error=str(failure))
    if isinstance(failure, DiskFull):
        return _answer(507, as_sentence(failure), [("Retry-After", "60")])
    return _answer(503, _OUT_OF_REACH, [("Retry-After", "5")])


def _conflict(error: Exception) -> ResponseReturnValue:
    return _answer(409, as_sentence(error), [])


def _no_reader(_error: NoReader) -> ResponseReturnValue:
    if _from_program():
        return _answer(400, f"Say who reads, in the header {HEADER}.", [])
    came_from = urlsplit(request.referrer or "")
    here = f"{came_from.path}?{came_from.query}" if came_from.path else "/review"
    return redirect(url_for("reader.ask", next=here), 303)


def _answer(code: int, sentence: str, headers: list[tuple[str, str]]) -> ResponseReturnValue:
    if _from_program():
        return {"error": sentence}, code, headers
    page = render_template("failure.html", title=_TITLES.get(code, "That did not work"), sentence=sentence)
    return page, code, headers


def _from_program() -> bool:
    return request.path.startswith(_FOR_PROGRAMS)
