"""packaging/postgresql-roles.sql: the application works with its role, and cannot change the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.filling import AT, assert_consistent, fill, known_reader, later, score
from tests.roles import make_roles, url_as
from worker.access_chain import chain_accesses
from worker.commands import audit_export, backup, replay, report
from worker.config import Settings
from worker.errors import TransientFailure, WrongSettings
from worker.ledger import accesses, erasures, retention, review, schema
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.findings import Finding, Statement
from worker.ledger.session import Ledger
from worker.ledger.tables import AccessRecord
from worker.ledger.trail import TrailFilter

pytestmark = pytest.mark.postgres


@pytest.fixture(params=["a new database", "a database in use"])
def application(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Ledger]:
    """Return the ledger as the application's role opens it, migrated by the owner's role."""
    if request.param == "a database in use":
        before = Ledger(Settings(database_url=postgres_url).database)
        schema.upgrade(before)
        score(before, fill(before, 1))
        before.close()
    make_roles(postgres_url)
    owner = Ledger(url_as("nightread_owner", postgres_url))
    schema.upgrade(owner)
    owner.close()
    make_roles(postgres_url)
    ledger = Ledger(url_as("nightread_app", postgres_url))
    yield ledger
    ledger.close()


def test_application_works_with_its_role(application: Ledger) -> None:
    reader = known_reader(application)
    ids = fill(application, 8, 9)
    score(application, ids)
    with application.transaction() as session:
        review.decide(session, ids[0], reader_id=reader, statement=Statement(Finding.SIGNS), at=AT)
        access = Access(AccessKind.ORIGINAL, "user:1", ids[0], reason="second opinion")
        accesses.record(session, access, AT)
    assert chain_accesses(application) == 1
    assert_consistent(application)
    assert schema.upgrade(application) == schema.newest(), "an upgrade with nothing to do needs no rights"


def test_application_may_erase_and_remove_what_is_old(application: Ledger) -> None:
    first, second = fill(application, 8, 9)
    score(application, [first, second])
    with application.transaction() as session:
        erasures.erase(session, [first], who="os:1", why="asked for", all_run_names=True, at=AT)
        erasures.finish(session, {first: ""}, lambda _: True, AT)
        retention.bytes_removed(session, [second], AT)
        for step in (*retention.NAMES, *retention.TEXT, *retention.SESSIONS):
            retention.remove(session, step, later(60), after=0, limit=9, at=later(61))
    assert assert_consistent(application).erased == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_event_keeps ON audit_event",
        "DROP TABLE audit_event",
        "UPDATE access_record SET actor = 'x'",
        "DELETE FROM access_record",
        "TRUNCATE access_record CASCADE",
        "DROP TRIGGER access_record_is_written ON access_record",
        "UPDATE access_batch SET sha256 = 'x'",
        "DELETE FROM access_batch",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE surplus (id INTEGER)",
    ],
)
def test_application_cannot_change_events_or_tables(application: Ledger, statement: str) -> None:
    with (
        pytest.raises((DBAPIError, TransientFailure), match=r"permission denied|must be owner"),
        application.transaction() as session,
    ):
        session.execute(text(statement))


def test_auditor_reads_and_changes_nothing(application: Ledger, postgres_url: str) -> None:
    fill(application, 8)
    auditor = Ledger(url_as("nightread_auditor", postgres_url))
    assert_consistent(auditor)
    with pytest.raises(DBAPIError, match="permission denied"), auditor.transaction() as session:
        session.execute(text("UPDATE image SET lane = 'urgent'"))
    auditor.close()


def test_auditor_exports_nothing_that_cannot_go_on_record(
    application: Ledger, postgres_url: str, tmp_path: Path
) -> None:
    ids = fill(application, 8)
    score(application, ids)
    auditor = Ledger(url_as("nightread_auditor", postgres_url))
    with pytest.raises(WrongSettings, match="may only read"):
        audit_export.export(auditor, "csv", TrailFilter())
    with pytest.raises(WrongSettings, match="may only read"):
        report.read(auditor, None, "csv")
    with pytest.raises(WrongSettings, match="may only read"):
        backup.write(auditor, tmp_path / "copy")
    with pytest.raises(WrongSettings, match="may only read"):
        replay.replay_image(Settings(data=tmp_path), auditor, ids[0])
    assert list(tmp_path.iterdir()) == []
    auditor.close()
    assert report.read(application, None, "csv").figures.run.name
    with application.reading() as session:
        (access,) = session.scalars(select(AccessRecord))
        assert (access.kind, access.code) == (AccessKind.EXPORT, "csv")
