"""The parameters of a request. A wrong one is answered with 400 and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import abort, request

from webui.formatting import as_sentence
from webui.ids import id_of
from webui.queue_view import QueueView
from worker.ledger.states import IllegalTransition


@contextmanager
def bad_request_on_value_error() -> Iterator[None]:
    """Turn a ValueError of the block into a 400 response that says why."""
    try:
        yield
    except IllegalTransition:
        # This ValueError is the image's fault, not the request's: it becomes a 409 response.
        raise
    except ValueError as error:
        abort(400, as_sentence(error))


def queue_view_parameter() -> QueueView:
    """Return the filter and cursor of the URL."""
    with bad_request_on_value_error():
        return QueueView.parse(request.args)


def before_parameter() -> int | None:
    """Return the id that the previous page of a list ended with, from the URL."""
    with bad_request_on_value_error():
        return id_of(request.args.get("before"))


def json_text(name: str, default: str | None = None) -> str:
    """Return a string of the JSON object in the request's body."""
    try:
        document = request.get_json(silent=True)
    except RecursionError:
        abort(400, "The JSON in the request's body is nested too deeply.")
    value = document.get(name, default) if isinstance(document, dict) else None
    if not isinstance(value, str):
        abort(400, f"The request's body must be a JSON object with a string in {name!r}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        abort(400, f"The string in {name!r} is not valid Unicode.")
    return value
