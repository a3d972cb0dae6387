"""Keeping the database: is everything where it should be, and a copy of it while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, select

from worker.ledger import audit, schema
from worker.ledger.reports import books
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction


class BackupFailed(Exception):  # noqa: N818 - says what happened
    """The copy could not be made; the message says why."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, and the sentence about it."""

    ok: bool
    what: str


def check(ledger: Ledger, in_store: Callable[[], Iterable[str]]) -> list[Finding]:
    """Check schema, books, trail, and the images against the hashes that `in_store` lists."""
    revision, needed = schema.current(ledger), schema.newest()
    findings = [Finding(revision == needed, f"schema revision {revision}, needed {needed}")]
    if revision != needed:
        return findings
    differences = schema.differences(ledger)
    findings.append(
        Finding(not differences, f"{len(differences)} differences from the tables of this program")
    )
    with ledger.reading() as session:
        counted = books(session)
        findings.append(Finding(counted.balanced, counted.line))
        trail = audit.verify(session)
        broken = "" if trail.ok else f", broken at event {trail.first_bad}"
        findings.append(Finding(trail.ok, f"audit trail of {trail.events} events{broken}"))
        known = set(session.scalars(select(Image.sha256).execution_options(yield_per=5_000)))
        scored_alone = session.scalars(
            select(Image.id)
            .where(Image.state == ImageState.SCORED)
            .where(~select(Prediction.id).where(Prediction.image_id == Image.id).exists())
        ).all()
        findings.append(Finding(not scored_alone, f"{len(scored_alone)} scored images without a prediction"))
    # Listed after the snapshot: what arrives meanwhile is in the store before it is in the ledger. And
    # outside of it: a large store takes long, and PostgreSQL ends a session that idles in a transaction.
    stored = set(in_store())
    missing = len(known - stored)
    findings.append(Finding(missing == 0, f"{missing} images without their bytes in the store"))
    # A crash between store and commit leaves one; its source is still there and comes again.
    findings.append(Finding(ok=True, what=f"{len(stored - known)} stored files that no image names"))
    return findings


def backup(ledger: Ledger, target: Path) -> None:
    """Copy the database, consistent and online: SQLite's backup, or pg_dump's custom format.

    Raises BackupFailed; an unfinished copy is removed.
    """
    if target.exists():
        raise BackupFailed(f"{target} exists already; a backup overwrites nothing.")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.part")
    try:
        if ledger.engine.dialect.name == "sqlite":
            _backup_sqlite(ledger, unfinished)
        else:
            _backup_postgresql(ledger, unfinished)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _backup_sqlite(ledger: Ledger, target: Path) -> None:
    source_path = ledger.engine.url.database or ""
    if not Path(source_path).is_file():
        raise BackupFailed(f"There is no database at {source_path}.")
    with closing(sqlite3.connect(source_path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _backup_postgresql(ledger: Ledger, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupFailed("pg_dump is not installed; it comes with PostgreSQL's client programs.")
    url = ledger.engine.url
    # Not on the command line, which every user of the machine may read.
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    name = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    command = [program, "--format=custom", f"--file={target}", f"--dbname={name.render_as_string()}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise BackupFailed(f"pg_dump failed: {done.stderr.strip()}")
