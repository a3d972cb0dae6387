"""Runs: the nights, and the imports that were given a name."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger import audit
from worker.ledger.tables import Run


def night_of(local: datetime) -> str:
    """Name of the night that `local`, a time on the wall's clock, belongs to: noon to noon."""
    return f"night-{(local - timedelta(hours=12)).date().isoformat()}"


def run_named(session: Session, name: str, at: datetime) -> Run:
    """The run of this name, made if there is none. Takes the chain's lock before it makes one."""
    query = select(Run).where(Run.name == name)
    found = session.scalars(query).one_or_none()
    if found is not None:
        return found
    audit.lock(session)
    found = session.scalars(query).one_or_none()
    if found is None:
        found = Run(name=name, started_at=at)
        session.add(found)
        session.flush()
        audit.append(session, [audit.Event("run_started", "nightread", f"run:{found.id}", {})], at)
    return found
