"""Who reads: a name asked once, kept in the signed session cookie and in the ledger.

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
_KEY = "reader"


class NoReader(Exception):  # noqa: N818 - says what is missing
    """Someone has to say who they are first."""


def reader_name() -> str | None:
    """The name of whoever sends this request; None when they have not said."""
    named = _decoded(request.headers.get(HEADER, "")).strip()
    kept = session.get(_KEY)
    return named or (kept if isinstance(kept, str) else None)


def required_reader_name() -> str:
    """Return the name that the request gives. Raises NoReader when it gives none."""
    name = reader_name()
    if name is None:
        raise NoReader
    return name


def acting_reader(ledger: Session, at: datetime) -> User:
    """The reader, known to the ledger from now on. Raises NoReader, or ValueError for a bad name."""
    return review.reader(ledger, required_reader_name(), at)


def remember(name: str) -> None:
    """Keep a name for the browser's next requests."""
    session[_KEY] = name
    session.permanent = True


def local_path(target: str) -> str:
    """Where to go on after the name was given: a path of ours, never another site."""
    parts = urlsplit(target)
    harmless = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if harmless and not parts.scheme and not parts.netloc else "/review"


def _decoded(value: str) -> str:
    """WSGI gives headers as Latin-1 (PEP 3333); a name comes as UTF-8 from most programs."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
