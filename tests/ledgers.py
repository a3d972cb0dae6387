"""Ledgers for tests, made quickly: a new SQLite file is a copy of one that was migrated before.

On PostgreSQL, the fixture `migrated_postgres_url` copies a database.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from worker.ledger import schema
from worker.ledger.session import Ledger


def current_ledger(url: str) -> Ledger:
    """Open the ledger at `url`, as `Settings.database` gives it, and bring it to the newest revision."""
    file = Path(make_url(url).database or "")
    if url.startswith("sqlite:") and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated_file())
        return Ledger(url)
    ledger = Ledger(url)
    if schema.current(ledger) != schema.newest():
        schema.upgrade(ledger)
    return ledger


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory(prefix="nightread-ledger-") as folder:
        file = Path(folder) / "ledger.sqlite3"
        ledger = Ledger(f"sqlite:///{file}")
        schema.upgrade(ledger)
        ledger.close()
        return file.read_bytes()
