"""Runs: the files of one night, or of an import with a name of its own."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import actors, audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Run

_LONGEST_NAME = 100
# The canaries' run: nobody else may send files to it.
CANARY_RUN = "canary"
# The names that Nightread gives. They name nobody, so they may stand in addresses; names that a person typed may not.
OWN_NAME = rf"night-[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{CANARY_RUN}"


def checked_run_name(text: str) -> str | None:
    """Return the name that a person chose for a run, with single spaces; None when it is empty.

    Raises:
        ValueError: the name is long, not printable, or belongs to Nightread.
    """
    name = " ".join(text.split())
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"the name of a run must have at most {_LONGEST_NAME} characters, and only printable ones"
        )
    if unicodedata.normalize("NFKC", name).casefold() == CANARY_RUN:
        raise ValueError(f"the run {CANARY_RUN!r} is Nightread's own; choose another name")
    return name or None


def night_of(local: datetime) -> str:
    """Return the name of the night of a local time; a night lasts from noon to noon."""
    return f"night-{(local - timedelta(hours=12)).date().isoformat()}"


def is_own_name(name: str) -> bool:
    """Return whether Nightread gives such a name to a run."""
    return re.fullmatch(OWN_NAME, name) is not None


def public_name(run_id: int, name: str) -> str:
    """Return a name of a run that says nothing of a patient: Nightread's own name, or one with the run's number."""
    return name if is_own_name(name) else f"run {run_id}"


def run_at(session: Session, reference: str) -> Run | None:
    """Return the run of an address: of this id, or of this name if Nightread gave it."""
    if reference.isdecimal():
        return session.get(Run, int(reference))
    return session.scalars(select(Run).where(Run.name == reference)).one_or_none()


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
        audit.append(session, [audit.Event("run_started", actors.PROGRAM, f"run:{run.id}", details)], at)
    return run
