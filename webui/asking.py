"""What a request asks for, read so that a mistake in it is answered with 400 and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import abort, request

from webui.place import Place, key_of
from worker.ledger.states import IllegalTransition


@contextmanager
def asking() -> Iterator[None]:
    """Around what a request asks for: a ValueError there is the request's fault, and says why."""
    try:
        yield
    except IllegalTransition:
        raise
    except ValueError as error:
        abort(400, as_sentence(error))


def place_of_request() -> Place:
    """Where in the queue this request is, from its URL."""
    with asking():
        return Place.parse(request.args)


def before_of_request() -> int | None:
    """The id that the page before this one ended with, from the URL."""
    with asking():
        return key_of(request.args.get("before"))


def text_of(name: str, default: str | None = None) -> str:
    """A text in the JSON object that the request holds."""
    document = request.get_json(silent=True)
    value = document.get(name, default) if isinstance(document, dict) else None
    if not isinstance(value, str):
        abort(400, f"Send a JSON object whose {name!r} is text.")
    return value


def as_sentence(error: Exception) -> str:
    """An exception's message as a sentence for the page."""
    text = str(error)
    return text if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."
