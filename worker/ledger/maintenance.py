"""Maintenance of the database: consistency checks, and a backup while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, select

from worker.ledger import audit, schema, tallies
from worker.ledger.comparison import Comparison, compare
from worker.ledger.file_counts import file_counts
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Prediction


class BackupFailed(Exception):  # noqa: N818 - says what happened
    """The backup failed; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: whether it passed, a text about it, and the names of the affected files or images."""

    ok: bool
    summary: str
    names: Sequence[str] = ()


def check(ledger: Ledger) -> list[CheckResult]:
    """Check schema, file count, tallies and audit trail, and compare the tables with the audit trail.

    The first result is about the schema. If the schema is outdated, it is the only result.
    """
    revision, needed = schema.current(ledger), schema.newest()
    results = [CheckResult(revision == needed, f"schema revision {revision}; this program needs {needed}")]
    if revision != needed:
        return results
    differences = schema.differences(ledger)
    results.append(
        CheckResult(
            not differences,
            f"{len(differences)} differences between the database and the schema of this program",
        )
    )
    with ledger.reading() as session:
        counts = file_counts(session)
        results.append(CheckResult(counts.balanced, counts.equation))
        wrong_tallies = tallies.differences(session)
        results.append(
            CheckResult(wrong_tallies == 0, f"{wrong_tallies} tallies that differ from a count of the rows")
        )
        trail = audit.verify(session)
        broken = "" if trail.ok else f", broken at event {trail.first_bad}"
        results.append(CheckResult(trail.ok, f"audit trail of {trail.events} intact events{broken}"))
        results += _comparison_results(compare(session))
        without_prediction = session.scalars(
            select(Image.id)
            .where(Image.state == ImageState.SCORED)
            .where(~select(Prediction.id).where(Prediction.image_id == Image.id).exists())
        ).all()
        names = [f"image {image_id}" for image_id in without_prediction]
        results.append(CheckResult(not names, f"{len(names)} scored images without a prediction", names))
    return results


def _comparison_results(comparison: Comparison) -> list[CheckResult]:
    summary = f"{comparison.mismatch_count} differences between the tables and the audit trail"
    names = [str(mismatch) for mismatch in comparison.mismatches]
    results = [CheckResult(not comparison.mismatch_count, summary, names)]
    for counts, what in (
        (comparison.unproven, "values that an earlier version recorded without proof in the audit trail"),
        (comparison.erased, "erased texts"),
    ):
        if counts:
            names = [f"{count} {name}" for name, count in sorted(counts.items())]
            results.append(CheckResult(ok=True, summary=f"{sum(counts.values())} {what}", names=names))
    return results


def check_target(target: Path) -> None:
    """Raise BackupFailed if there is a file where a backup is to be written."""
    if target.exists():
        raise BackupFailed(f"{target} already exists. A backup never overwrites a file.")


def backup(ledger: Ledger, target: Path) -> None:
    """Write a consistent copy of the database to a file in an existing folder while the database is in use.

    SQLite is copied by its backup API, PostgreSQL by pg_dump in the custom format. An unfinished copy is
    removed. Raises BackupFailed.
    """
    check_target(target)
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
    try:
        with closing(sqlite3.connect(source_path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        raise BackupFailed(f"The database cannot be copied to {target.parent}: {error}.") from error


def _backup_postgresql(ledger: Ledger, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupFailed("pg_dump is not installed. Install PostgreSQL's client programs.")
    url = ledger.engine.url
    # Not on the command line, which every user of the machine can read.
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    name = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    command = [program, "--format=custom", f"--file={target}", f"--dbname={name.render_as_string()}"]
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if completed.returncode != 0:
        raise BackupFailed(f"pg_dump failed: {completed.stderr.strip()}")
