"""What a request asks for, read so that a mistake in it is answered with 400 and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import abort, request

from webui.formatting import as_sentence
from webui.queue_view import QueueView, key_of
from worker.ledger.states import IllegalTransition


@contextmanager
def bad_request_on_value_error() -> Iterator[None]:
    """Around what a request asks for: a ValueError there is the request's fault, and says why."""
    try:
        yield
    except IllegalTransition:
        raise
    except ValueError as error:
        abort(400, as_sentence(error))


def queue_view_parameter() -> QueueView:
    """Where in the queue this request is, from its URL."""
    with bad_request_on_value_error():
        return QueueView.parse(request.args)


def before_parameter() -> int | None:
    """The id that the page before this one ended with, from the URL."""
    with bad_request_on_value_error():
        return key_of(request.args.get("before"))


def json_text(name: str, default: str | None = None) -> str:
    """A text in the JSON object that the request holds."""
    document = request.get_json(silent=True)
    value = document.get(name, default) if isinstance(document, dict) else None
    if not isinstance(value, str):
        abort(400, f"Send a JSON object whose {name!r} is text.")
    return value
