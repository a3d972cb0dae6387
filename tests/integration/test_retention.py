"""Old data is removed once a day, as the settings say; images that wait for a reader keep everything."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from tests import commands
from tests.conftest import HANG_S
from tests.filling import AT, assert_consistent, image, known_reader
from tests.integration.test_erasing import files_with, keep_pack, wrong
from tests.integration.webui.night import RUN, Night, open_night, phantoms
from tests.signing_in import session_key
from worker.config import ROOT, Settings
from worker.errors import TransientFailure
from worker.ledger import leases, protocols, review, thresholds
from worker.ledger.comparison import compare
from worker.ledger.findings import Finding, Statement
from worker.ledger.protocols import Protocol
from worker.ledger.session import utc_now
from worker.ledger.states import IllegalTransition
from worker.ledger.tables import BrowserSession, Image, Model, SiteSetting
from worker.ledger.thresholds import Point
from worker.renditions.area import RenditionArea
from worker.retention import Retention
from worker.store import Store, open_store

pytestmark = pytest.mark.slow

PATIENT = "DOE^JANE"
ALL = {f"keep_{kind}_days": 30 for kind in ("bytes", "renditions", "names", "text", "sessions")}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return phantoms(tmp_path_factory.mktemp("drawings"), [1, 2, 3, 4])


@pytest.fixture
def night(tmp_path: Path, ledger_url: str, drawings: list[Path]) -> Iterator[Night]:
    """Return four images: 1 was read, 2 is flagged and unread, 3 is pending, 4 was rejected after a retry."""
    made = open_night(tmp_path / "data", database_url=ledger_url)
    made.accept(drawings, run=f"films of {PATIENT}", names=[f"{PATIENT} {n}.jpg" for n in (1, 2, 3, 4)])
    made.accept(drawings[:1], run=RUN, names=[f"copy of {PATIENT}.jpg"])
    made.score({1: 0.9, 2: 0.8}, rejected=[4])
    reader_id = known_reader(made.ledger)
    with made.ledger.transaction() as session:
        leases.retry(session, 4, who="user:1", why=f"{PATIENT} again", at=AT)
        review.decide(
            session,
            1,
            reader_id=reader_id,
            statement=Statement(Finding.SIGNS, note=f"{PATIENT}: left"),
            at=AT,
        )
    made.score({}, rejected=[4])
    for image_id in (1, 2):
        keep_pack(made, image_id)
    yield made
    made.ledger.close()


def retention_of(night: Night, **days: int) -> Retention:
    settings = Settings.model_validate({**night.settings.model_dump(), **days})
    return Retention(settings, night.ledger, open_store(settings))


@pytest.fixture
def later(night: Night, monkeypatch: pytest.MonkeyPatch) -> Night:
    """Return the night, 31 days later."""
    monkeypatch.setattr("worker.retention.ledger_time", lambda _: utc_now() + timedelta(days=31))
    return night


def test_nothing_goes_by_default(later: Night) -> None:
    kept = retention_of(later)
    assert (kept.due(), kept.waiting(), kept.run_some()) == ({}, 0, False)


def test_nothing_goes_before_its_time(night: Night) -> None:
    assert retention_of(night, **ALL).run_all() == {
        "bytes": 0,
        "renditions": 0,
        "names": 0,
        "text": 1,
        "sessions": 0,
    }
    assert image(night.ledger, 1).original_name == f"{PATIENT} 1.jpg"


def test_old_images_lose_what_names_or_shows_a_patient(later: Night) -> None:
    session_key(later.ledger, "Ada")
    kept = retention_of(later, **ALL)
    expected = {"bytes": 2, "renditions": 2, "names": 4, "text": 2, "sessions": 1}
    assert kept.due() == expected
    assert kept.waiting() == 2
    assert {name: count for name, count in kept.run_all().items() if name != "renditions"} == {
        name: count for name, count in expected.items() if name != "renditions"
    }
    assert kept.due() == dict.fromkeys(ALL_KINDS, 0)
    store = open_store(later.settings)
    for image_id, is_kept in ((1, False), (2, True), (3, True), (4, False)):
        row = image(later.ledger, image_id)
        assert store.has(row.sha256) is is_kept
        assert (row.bytes_removed_at is None) is is_kept
        assert row.original_name == (f"{PATIENT} {image_id}.jpg" if is_kept else "(erased)")
        assert not RenditionArea(store.root).holds(row.sha256)
    assert image(later.ledger, 4).retry_reason is None
    assert_consistent(later.ledger)
    assert wrong(later) == []
    with later.ledger.reading() as session:
        assert compare(session).erased == {
            "image.retry_reason": 1,
            "receipt.original_name": 3,
            "review.note": 1,
            "run.name": 1,
        }
        assert session.query(BrowserSession).count() == 0
        kinds = set(session.scalars(text("SELECT kind FROM audit_event WHERE actor = 'nightread'")))
    assert {
        "bytes_removed", "renditions_removed", "names_erased", "name_erased", "texts_erased", "sessions_removed",
    } <= kinds  # fmt: skip


ALL_KINDS = ("bytes", "renditions", "names", "text", "sessions")


def test_waiting_image_goes_when_it_was_read(later: Night) -> None:
    kept = retention_of(later, keep_bytes_days=30)
    kept.run_all()
    assert kept.due() == {"bytes": 0}
    with later.ledger.transaction() as session:
        review.decide(session, 2, reader_id=1, statement=Statement(Finding.SIGNS), at=utc_now())
    assert kept.run_all() == {"bytes": 1}
    assert wrong(later) == []


def test_sweeper_removes_a_little_in_each_round(later: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.retention._IMAGES", 1)
    kept = retention_of(later, keep_bytes_days=30)
    removed = []
    while kept.run_some():
        removed.append([i for i in (1, 4) if image(later.ledger, i).bytes_removed_at])
    assert removed == [[1], [1, 4]]
    # The next pass begins a day later.
    assert not kept.run_some()


def test_failed_pass_is_repeated(later: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = retention_of(later, keep_bytes_days=30)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", _cannot_delete)
        with pytest.raises(TransientFailure, match="cannot delete the bytes of image 1"):
            kept.run_some()
    assert image(later.ledger, 1).bytes_removed_at is None
    assert kept.run_some()
    assert image(later.ledger, 1).bytes_removed_at is not None
    assert wrong(later) == []


def _cannot_delete(*_: object) -> None:
    raise PermissionError(13, "Permission denied")


DRIVER = """
import os, signal, sys
from datetime import timedelta
from worker import retention
from worker.config import Settings
from worker.ledger import retention as rows
from worker.ledger.session import Ledger, utc_now
from worker.store import open_store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

rows.bytes_removed = die
retention.ledger_time = lambda _: utc_now() + timedelta(days=31)
settings = Settings(data=sys.argv[1], database_url=sys.argv[2], keep_bytes_days=30)
retention.Retention(settings, Ledger(settings.database), open_store(settings)).run_all()
"""


def test_killed_pass_is_finished_by_the_next(later: Night) -> None:
    command = [sys.executable, "-c", DRIVER, str(later.settings.data), later.settings.database]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=HANG_S).returncode == -signal.SIGKILL
    assert image(later.ledger, 1).bytes_removed_at is None
    assert retention_of(later, keep_bytes_days=30).run_all() == {"bytes": 2}
    assert wrong(later) == []


def test_file_that_arrives_again_is_kept_for_a_while(later: Night, drawings: list[Path]) -> None:
    kept = retention_of(later, keep_bytes_days=30)
    kept.run_all()
    (again,) = later.accept(drawings[:1])
    assert again.image_id == 1
    assert open_store(later.settings).has(image(later.ledger, 1).sha256)
    assert image(later.ledger, 1).bytes_removed_at is None
    assert wrong(later) == []
    assert kept.run_all() == {"bytes": 1}
    assert_consistent(later.ledger)


def test_image_without_bytes_cannot_be_retried(later: Night) -> None:
    retention_of(later, keep_bytes_days=30).run_all()
    with pytest.raises(IllegalTransition, match="not kept any more"), later.ledger.transaction() as session:
        leases.retry(session, 4, who="user:1", why="again", at=utc_now())


def test_reasons_of_protocols_and_thresholds_are_removed(later: Night) -> None:
    """They are texts that a person typed. What they put in force stays in force."""
    with later.ledger.transaction() as session:
        model = session.scalars(select(Model)).one()
        point, why, at = Point("low", 0.2, 0.1, 0.3), f"missed {PATIENT}", utc_now()
        protocols.change(session, Protocol(readers=2), who="user:1", why=why, at=at)
        thresholds.change(session, model, point, who="user:1", why=why, at=at)
    kept = retention_of(later, keep_text_days=30)
    before = kept.due()["text"]
    assert kept.run_all() == {"text": before}
    with later.ledger.reading() as session:
        rows = session.scalars(select(SiteSetting).order_by(SiteSetting.id)).all()
        assert [(row.name, row.why, row.salt) for row in rows] == [
            ("protocol", "(erased)", None),
            ("operating_point", "(erased)", None),
        ]
        assert protocols.in_force(session).protocol.readers == 2
        setting = thresholds.latest(session)
        assert setting is not None
        assert setting.point == point
        assert compare(session).erased["site_setting.why"] == len(rows)
    assert_consistent(later.ledger)


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_removed_texts_are_in_no_file(later: Night) -> None:
    with later.ledger.transaction() as session:
        session.execute(update(Image).where(Image.id.in_([2, 3])).values(state="rejected", review_state=None))
    retention_of(later, **ALL).run_all()
    later.ledger.close()
    assert files_with(later, PATIENT.encode()) == []


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_command_says_what_would_go_and_removes_it(night: Night) -> None:
    with night.ledger.transaction() as session:
        session.execute(text("UPDATE image SET received_at = '2020-01-01 00:00:00.000000'"))

    def run(*arguments: str) -> dict[str, Any]:
        environment = {
            "NIGHTREAD_DATA": str(night.settings.data),
            "NIGHTREAD_DATABASE_URL": night.settings.database,
            "NIGHTREAD_KEEP_BYTES_DAYS": "30",
        }
        completed = commands.run("retention", *arguments, "--json", environment=environment, seconds=HANG_S)
        completed.check_returncode()
        document: dict[str, Any] = json.loads(completed.stdout)
        return document

    dry = run("--dry-run")
    assert dry == {
        "dry_run": True,
        "limits": {
            name: {"days": 30 * (name == "bytes"), "count": 2 * (name == "bytes")} for name in ALL_KINDS
        },
        "waiting": 2,
    }
    assert image(night.ledger, 1).bytes_removed_at is None
    assert run()["limits"]["bytes"] == {"days": 30, "count": 2}
    assert image(night.ledger, 1).bytes_removed_at is not None
    assert run()["limits"]["bytes"]["count"] == 0


def test_ledger_is_read_in_pages(later: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ledger.retention._PAGE", 1)
    assert retention_of(later, keep_names_days=30).due() == {"names": 4}
