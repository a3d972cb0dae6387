"""Runs: the files of one night, or of an import with a name of its own."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Run


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
