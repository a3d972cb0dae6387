"""`nightread bench-ledger`: the synthetic ledger is consistent, every endpoint is measured, every query uses an index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from bench.ledger import addresses, as_text, measure, read_and_undo_ms, signed_in_client, take_samples
from bench.synthetic_ledger import fill_ledger
from tests.filling import assert_consistent, fill
from webui import create_app
from webui.dependencies import EXTENSION
from worker.config import ROOT, Settings
from worker.ledger import double_readings, missed_cases, schema
from worker.ledger.session import Ledger

# Files as they are: the static ones, stored originals, and the outline of a film that was cut out. Pages for people who
# are not signed in yet. The export of the trail, which sends as much as was asked for. An export holds the whole audit trail.
NOT_MEASURED = {
    "static",
    "images.original",
    "images.outline",
    "images.grey",
    "images.values",
    "sign_in.show",
    "sign_in.open_link",
    "second_step.show",
    "audit.export",
    "provider.begin",
    "provider.come_back",
}
# Of these, 40 are read twice.
COUNT = 2_040
# Tables that grow with every image; the tallies and the runs do not.
LARGE = ("image", "study", "instance", "receipt", "prediction", "review", "audit_event", "access_record")


def test_bench_ledger_measures_pages_readings_writes_and_commands(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "not used", database_url=database_url)
    document = measure(settings, COUNT, rounds=2)
    app = create_app(Settings(data=tmp_path / "other"))
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    assert set(document["pages"]) == (endpoints - NOT_MEASURED) | {"api_reading.decide", "api_reading.undo"}
    assert min(page["median_ms"] for page in document["pages"].values()) >= 0
    assert document["slowest_p95_ms"] == max(page["p95_ms"] for page in document["pages"].values()) > 0
    assert min(document["writes"].values()) > 0
    assert min(min(of.values()) for of in document["commands"].values()) > 0
    assert "  nightread audit verify" in as_text(document)
    ledger = Ledger(settings.database)
    counts = assert_consistent(ledger)
    ledger.close()
    assert counts.images == COUNT + 2 * 64, "the synthetic images and those of the measured writes"
    assert (
        min(
            counts.duplicates,
            counts.rejected,
            counts.pending,
            counts.leased,
            counts.flagged,
            counts.uncertain,
        )
        > 0
    )
    assert not (tmp_path / "not used").exists()


def test_synthetic_ledger_has_what_agreement_and_missed_cases_are_counted_from(ledger: Ledger) -> None:
    fill_ledger(ledger, 5 * COUNT)
    with ledger.reading() as session:
        counted = missed_cases.extent(session)
        read = missed_cases.read(session, list(counted.runs))
        pairs = double_readings.latest_pairs(session).pairs
    assert {f"read-twice-{number}" for number in range(1, 9)} <= set(counted.runs.values())
    assert read.sample.read > 0
    assert read.unread == 0
    assert sum(equal.number for equal in pairs) >= read.shown.read


def test_bench_ledger_leaves_a_ledger_in_use_alone(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 1)
    completed = subprocess.run(
        [sys.executable, "-m", "worker.cli", "bench-ledger", "1000"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NIGHTREAD_DATABASE_URL": ledger.engine.url.render_as_string(hide_password=False),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "this ledger already has images" in completed.stderr
    assert assert_consistent(ledger).images == 1


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """The app on a synthetic SQLite ledger; the query plans do not depend on its size."""
    settings = Settings(data=tmp_path / "data")
    made = create_app(settings)
    ledger: Ledger = made.extensions[EXTENSION].ledger
    schema.upgrade(ledger)
    fill_ledger(ledger, COUNT)
    yield made
    ledger.close()


def test_no_request_reads_a_whole_table(app: Flask) -> None:
    dependencies = app.extensions[EXTENSION]
    known = take_samples(dependencies.ledger, COUNT)
    client = signed_in_client(app)
    asked: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.setdefault(statement, parameters)

    event.listen(dependencies.ledger.engine, "before_cursor_execute", note)
    for name, urls in addresses(known).items():
        # Only the bytes of the images differ, and this ledger has no stored files.
        for address in urls[: 1 if name.startswith("images.") else None]:
            client.get(address)
    read_and_undo_ms(client, known.unread[0])
    event.remove(dependencies.ledger.engine, "before_cursor_execute", note)
    assert len(asked) > 50
    with dependencies.ledger.engine.connect() as connection:
        plans = {
            statement: connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for statement, parameters in asked.items()
        }
    assert {statement: plan for statement, plan in plans.items() if _reads_much(statement, plan)} == {}


def _reads_much(statement: str, plan: Any) -> bool:
    """Return whether the plan scans a large table, scans a whole index to count, or sorts rows to keep a few.

    Along an index it may go from row to row: that is how the latest of something is found. What is sorted
    after a CO-ROUTINE are the first few of each range (sqlite.org/eqp.html).
    """
    steps = [str(row[-1]) for row in plan]
    scans = [step for step in steps if step.split()[0] == "SCAN" and step.split()[1] in LARGE]
    sorts = "LIMIT" in statement and "USE TEMP B-TREE FOR ORDER BY" in steps
    merges = any(step.startswith("CO-ROUTINE") for step in steps)
    return (sorts and not merges) or any(" INDEX " not in step or "COVERING" in step for step in scans)


@pytest.mark.postgres
def test_no_list_reads_a_whole_range_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    """Of a small table, the planner reads all rows: here it may not, unless no index helps."""
    app = create_app(Settings(data=tmp_path / "data", database_url=postgres_url))
    ledger: Ledger = app.extensions[EXTENSION].ledger
    schema.upgrade(ledger)
    fill_ledger(ledger, COUNT)
    known, client = take_samples(ledger, COUNT), signed_in_client(app)
    asked: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.setdefault(statement, parameters)

    event.listen(ledger.engine, "before_cursor_execute", note)
    for name in ("queue.show", "queue.news", "summary.show"):
        for address in addresses(known)[name]:
            assert client.get(address).status_code == 200
    event.remove(ledger.engine, "before_cursor_execute", note)
    with ledger.engine.connect() as connection:
        for choice in ("seqscan", "bitmapscan", "sort"):
            connection.exec_driver_sql(f"SET enable_{choice} = off")
        plans = {
            statement: [
                str(row[0])
                for row in connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
            ]
            for statement, parameters in asked.items()
        }
    ledger.close()
    whole = {statement: plan for statement, plan in plans.items() if _reads_a_range(plan)}
    assert whole == {}


def _reads_a_range(plan: list[str]) -> bool:
    """Return whether a plan scans a large table, or sorts all images of a kind to take the first few."""
    scans = any(re.search(rf"Seq Scan on {table}\b(?!_)", step) for step in plan for table in LARGE)
    steps = [step.strip(" ->") for step in plan]
    sorted_scans = any(
        step == "Sort" and any("Scan using ix_image_" in other for other in steps[place + 1 : place + 3])
        for place, step in enumerate(steps)
    )
    return scans or sorted_scans
