"""Lets a test change rows that the database keeps: it does what somebody does who owns the database."""

from __future__ import annotations

from itertools import product

from sqlalchemy import text
from sqlalchemy.orm import Session


def switch_off_triggers(session: Session) -> None:
    """Let the session's transaction change and delete accesses and their batches. A rollback brings the triggers back."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(text("SET LOCAL session_replication_role = replica"))
        return
    session.execute(text("PRAGMA defer_foreign_keys = ON"))
    for table, verb in product(("access_record", "access_batch"), ("update", "delete")):
        session.execute(text(f"DROP TRIGGER {table}_keeps_{verb}"))
