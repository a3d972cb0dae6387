"""The reader of a request: a name in the signed session cookie, kept in the ledger as well.

A program names its reader in the header `X-Nightread-Reader` of each request instead.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from flask import request, session
from sqlalchemy.orm import Session

from worker.ledger import review
from worker.ledger.tables import User

HEADER = "X-Nightread-Reader"
_COOKIE_KEY = "reader"


class NoReader(Exception):  # noqa: N818 - names what is missing
    """The request needs a reader's name and has none."""


def reader_name() -> str | None:
    """Return the reader's name from the header, else from the cookie, else None."""
    from_header = _decoded(request.headers.get(HEADER, "")).strip()
    from_cookie = session.get(_COOKIE_KEY)
    return from_header or (from_cookie if isinstance(from_cookie, str) else None)


def required_reader_name() -> str:
    """Return the reader's name. Raises NoReader when the request has none."""
    name = reader_name()
    if name is None:
        raise NoReader
    return name


def acting_reader(ledger: Session, at: datetime) -> User:
    """Return the reader's row, added to the ledger if it is new.

    Raises:
        NoReader: the request has no name.
        ValueError: the name is empty or too long.
    """
    return review.reader(ledger, required_reader_name(), at)


def remember(name: str) -> None:
    """Store the name in the browser's session cookie."""
    session[_COOKIE_KEY] = name
    session.permanent = True


def local_path(target: str) -> str:
    """Return the target if it is a path of this site, else the path of the review queue.

    A link to another site in `next` would otherwise lead people there (open redirect).
    """
    parts = urlsplit(target)
    is_path = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_path and not parts.scheme and not parts.netloc else "/review"


def _decoded(value: str) -> str:
    """Decode a header that WSGI read as Latin-1 (PEP 3333), although most programs send UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
