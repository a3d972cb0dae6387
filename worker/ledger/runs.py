"""Runs: the files of one night, or of an import with a name of its own."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Run

_LONGEST_NAME = 100
# The canaries' run: nobody else may send files to it.
CANARY_RUN = "canary"


def checked_run_name(text: str) -> str | None:
    """Return the name that a person chose for a run, with single spaces; None when it is empty.

    Raises:
        ValueError: the name is long, not printable, could not stand in an address, or belongs to Nightread.
    """
    name = " ".join(text.split())
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"the name of a run must have at most {_LONGEST_NAME} characters, and only printable ones"
        )
    # A browser takes these parts out of an address.
    if name and not {"", ".", ".."}.isdisjoint(name.replace("\\", "/").split("/")):
        raise ValueError(
            "the name of a run must not begin or end with a slash, nor have `.` or `..` in its place"
        )
    if unicodedata.normalize("NFKC", name).casefold() == CANARY_RUN:
        raise ValueError(f"the run {CANARY_RUN!r} is Nightread's own; choose another name")
    return name or None


def night_of(local: datetime) -> str:
    """Return the name of the night of a local time; a night lasts from noon to noon."""
    return f"night-{(local - timedelta(hours=12)).date().isoformat()}"


def run_named(session: Session, name: str, at: datetime) -> Run:
    """Return the run of this name; if there is none, lock the chain and create it."""
    query = select(Run).where(Run.name == name)
    run = session.scalars(query).one_or_none()
    if run is not None:
        return run
    audit.lock(session)
    run = session.scalars(query).one_or_none()
    if run is None:
        salt = new_salt()
        run = Run(name=name, salt=salt, started_at=at)
        session.add(run)
        session.flush()
        details = {"name_seal": seal(salt, name)}
        audit.append(session, [audit.Event("run_started", "nightread", f"run:{run.id}", details)], at)
    return run
