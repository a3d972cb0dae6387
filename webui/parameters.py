"""The parameters of a request. A wrong one is answered with 400 and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from flask import abort, request

from webui.blinding import without_hints
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.ids import LARGEST_ID, id_of
from webui.json_depth import has_too_many_parts
from webui.queue_view import QueueView
from worker.ledger.session import ledger_time
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
    """Return the filter, order and cursor of the URL, with the time limit of the settings.

    What would tell hidden scores is left out.
    """
    with bad_request_on_value_error():
        queue_view = QueueView.parse(request.args)
    read_within_s = dependencies().settings.read_within_s
    with dependencies().ledger.reading() as session:
        queue_view = without_hints(session, queue_view)
        if not read_within_s:
            return queue_view
        return replace(queue_view, overdue_from=ledger_time(session) - timedelta(seconds=read_within_s))


def before_parameter() -> int | None:
    """Return the id that the previous page of a list ended with, from the URL."""
    with bad_request_on_value_error():
        return id_of(request.args.get("before"))


def after_parameter() -> int | None:
    """Return the `next` of the previous page of a list of ids, from the URL."""
    with bad_request_on_value_error():
        return id_of(request.args.get("after"))


def json_id(name: str) -> int | None:
    """Return an id of the JSON object in the request's body; None if it is missing or null."""
    number = _json_value(name)
    if number is not None and not _is_id(number):
        abort(400, f"The id in {name!r} must be a whole number.")
    return cast("int | None", number)


def json_flag(name: str) -> bool | None:
    """Return true or false of the JSON object in the request's body; None if it is missing or null."""
    value = _json_value(name)
    if value is not None and not isinstance(value, bool):
        abort(400, f"The value in {name!r} must be true or false.")
    return value


def json_ids(name: str, max_ids: int) -> list[int]:
    """Return a list of ids of the JSON object in the request's body."""
    ids = _json_value(name)
    if not isinstance(ids, list) or len(ids) > max_ids or not all(map(_is_id, ids)):
        abort(
            400, f"The request's body must be a JSON object with a list of at most {max_ids} ids in {name!r}."
        )
    return cast("list[int]", ids)


def json_text(name: str, default: str | None = None) -> str:
    """Return a string of the JSON object in the request's body."""
    value = _json_value(name, default)
    if not isinstance(value, str):
        abort(400, f"The request's body must be a JSON object with a string in {name!r}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        abort(400, f"The string in {name!r} is not valid Unicode.")
    return value


def form_flag(name: str) -> bool | None:
    """Return true for `1` and false for `0` in a field of the form; None if it is missing or empty."""
    return {"1": True, "0": False}.get(request.form.get(name, ""))


def is_by_script() -> bool:
    """Return whether a script of a page sent the form: it wants a JSON document, whatever happens."""
    return request.headers.get("Accept") == "application/json"


def local_path(target: str) -> str:
    """Return the target if it is a path of this site, else the path of the first page.

    A link to another site in `next` would otherwise lead people there (open redirect).
    """
    is_path = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_path else "/"


def json_object() -> dict[str, Any]:
    """Return the JSON object in the request's body; an empty one if the body is none."""
    document = _json()
    return document if isinstance(document, dict) else {}


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _json_value(name: str, default: object = None) -> object:
    """Return a value of the JSON object in the request's body; None if the body is none."""
    document = _json()
    return document.get(name, default) if isinstance(document, dict) else None


def _json() -> object:
    if request.is_json and has_too_many_parts(request.get_data()):
        abort(400, "The JSON in the request's body has too many parts.")
    return request.get_json(silent=True)
